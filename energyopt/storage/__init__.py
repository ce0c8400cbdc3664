"""Study storage: Optuna's tables, and our own beside them."""

DEFAULT_STORAGE = "studies/energyopt.db"
"""Where studies are kept if nothing else is said, as in conf/config.yaml."""
