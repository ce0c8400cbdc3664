"""The only training loop, and what it measures."""
