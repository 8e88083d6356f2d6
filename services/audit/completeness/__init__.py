"""Completeness: what the log says each gateway boot had done, held against what the workers counted by themselves."""
