"""The engine in the whole suite under mixed traffic, with callers who leave and workers that are killed."""
