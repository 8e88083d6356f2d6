"""The services of Strongroom. Each is a package you can run; none imports another."""

import os

# gRPC's own "event engine" hands every event from thread to thread: nine context switches a unary call, five without
# it, and a fifth of the call's latency (docs/performance.md). gRPC reads this once, when it is first used.
os.environ.setdefault(
    "GRPC_EXPERIMENTS",
    "-event_engine_client,-event_engine_listener,-event_engine_callback_cq,-event_engine_for_all_other_endpoints",
)
