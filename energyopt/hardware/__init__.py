"""Meters: one file a source of joules. Each refuses to be built where it cannot read."""
