"""Processes, files, signals and text: standard library only."""
