"""Workflows other than a search: train once, retrain, confirm, load a study."""
