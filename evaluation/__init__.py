"""Safety measures of trained models, read from shards. Owns metrics and reports; makes no pictures."""
