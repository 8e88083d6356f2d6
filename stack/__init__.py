"""The local stack: keys, Redis, model and processes for one machine."""
