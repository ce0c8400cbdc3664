"""A study as a Hydra multirun: ask, launch, tell."""
