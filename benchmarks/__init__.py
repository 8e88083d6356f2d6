"""Measurements. Each prints a table and writes JSON; peers or a floor run in the same run."""
