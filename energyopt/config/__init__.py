"""From configs to objects, and what a config may say."""
