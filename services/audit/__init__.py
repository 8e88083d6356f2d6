"""Audit: the durable, provable record of every request."""
