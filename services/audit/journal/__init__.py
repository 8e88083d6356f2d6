"""The journal: append-only segments of frames, the one place where a byte becomes durable."""
