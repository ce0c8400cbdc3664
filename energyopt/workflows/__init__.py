"""Train, retrain and confirm: what a person asks for beyond a search."""
