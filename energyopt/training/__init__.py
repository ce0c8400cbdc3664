"""The only training loop, and its measurements."""
