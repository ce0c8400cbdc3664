"""Export fronts and studies to files."""
