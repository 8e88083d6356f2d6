"""Exports of records: taken from audit, made into one file that a stranger can check."""
