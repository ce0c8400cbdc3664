"""One training as a job in a process of its own."""
