"""Records and protocols: what flows through the package, and what can be plugged in."""
