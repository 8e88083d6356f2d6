"""What each quantization costs in quality, and what it brings in memory and speed."""
