"""The page that people on this machine look at: what the suite does now, and the recent requests."""
