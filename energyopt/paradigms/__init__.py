"""How a model is trained and scored: one file a paradigm."""
