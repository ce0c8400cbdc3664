"""Study storage: Optuna's tables, and our own beside them."""
