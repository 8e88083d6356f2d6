"""Which engine, mode and batch fit a machine: worked out from a model's config.json before anything is downloaded."""
