"""Fronts and studies as files."""
