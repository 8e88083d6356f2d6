"""Custody of what is sealed: erasure, holds that prevent it, and the provider's keys."""
