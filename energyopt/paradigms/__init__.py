"""Ways to train and score a model, one file each; see `core.protocols.Paradigm`."""
