"""Sealed payloads and the key tree: provider, tenant, subject, record."""
