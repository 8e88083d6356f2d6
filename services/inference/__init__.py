"""The inference worker: claims jobs, runs them in one continuous batch, publishes step frames."""

import os

# oneDNN makes a kernel for each number of rows, about 6 ms for all of a pass, and keeps so many; its own default of
# 1,024 is less than steps of up to 300 rows need. It reads this once, when torch first computes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")
