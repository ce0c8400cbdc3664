"""The command line: words of a person in, sentences and exit codes out."""
