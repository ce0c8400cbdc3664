"""Optuna's dashboard, with energyopt's figures and notes added."""
