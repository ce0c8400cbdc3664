"""Pure functions from a study record to numbers."""
