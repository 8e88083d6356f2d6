"""The engine beside its peers: one workload, the same weights, in one run."""
