"""Study storage: Optuna's tables and energyopt's own tables."""

DEFAULT_STORAGE = "studies/energyopt.db"
"""The default storage, as in conf/config.yaml."""
