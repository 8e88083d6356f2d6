"""Recorded requests run once more, and whether the model chose the same tokens."""
