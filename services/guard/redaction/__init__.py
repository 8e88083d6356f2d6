"""Finds personal data in a text, whole or as it arrives, and puts a mask in its place."""
