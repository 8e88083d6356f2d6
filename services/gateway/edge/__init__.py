"""The OpenAI-compatible HTTP door: a thin translation onto the same lives as gRPC; nothing is decided here."""
