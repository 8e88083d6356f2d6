"""Engines: what turns messages into tokens. `protocol` and `echo` import no model library."""
