"""A witness: sees that logs only ever grow, and cosigns their checkpoints (c2sp.org/tlog-witness)."""
