"""Random faults on the real command, and the claims that hold whatever they hit."""
