"""The core of the monitor: spans kept within bounds, and how a trace reads."""
