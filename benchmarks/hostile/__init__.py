"""Callers of the HTTP edge who send what they like, and what may come back to them."""
