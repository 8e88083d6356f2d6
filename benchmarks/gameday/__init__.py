"""A game day for real: what breaks, which alert comes after how many seconds, with which remedy."""
