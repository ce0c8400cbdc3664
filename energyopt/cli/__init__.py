"""The command line: parses arguments, prints results, and sets the exit code."""
