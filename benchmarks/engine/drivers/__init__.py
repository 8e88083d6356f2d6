"""One file a contender, run as a process of its own, under the Python of its own environment."""
