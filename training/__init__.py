"""Training from shards: models, one readable loop, checkpoints that go on exactly."""
