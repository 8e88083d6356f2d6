"""Reads /metrics and /readyz of every process of the stack, within bounds of time, bytes and series."""
