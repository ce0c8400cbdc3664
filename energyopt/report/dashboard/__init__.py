"""Optuna's dashboard, with what it does not know of a study of ours."""
