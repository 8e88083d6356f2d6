"""The services of Strongroom. Each is a package you can run; none imports another."""

import os
import sys
from pathlib import Path

from chassis import compiled

# gRPC's own "event engine" hands every event from thread to thread: nine context switches a unary call, five without
# it, and a fifth of the call's latency (docs/performance.md). gRPC reads this once, when it is first used.
os.environ.setdefault(
    "GRPC_EXPERIMENTS",
    "-event_engine_client,-event_engine_listener,-event_engine_callback_cq,-event_engine_for_all_other_endpoints",
)

ROOT = Path(__file__).parents[1]
COMPILED = ROOT / "services" / "_compiled"  # what `make compiled` makes

# `-m` stands there while `python -m services.…` looks for the module to run: tests and tools take the sources.
if sys.argv[:1] == ["-m"]:
    compiled.use(COMPILED, ROOT)
