"""Training loops that read shards. Owns models and optimisation; makes no pictures."""
