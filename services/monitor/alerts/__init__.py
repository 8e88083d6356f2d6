"""Alerts: rules that hold, from pending over firing to resolved."""
