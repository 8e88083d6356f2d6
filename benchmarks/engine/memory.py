"""How much more memory the engine holds after each 1,000 requests, once it is warm."""

from __future__ import annotations

import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.engine.drivers.ours import Callers, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import COLUMNS
from benchmarks.report import arguments, machine, table, write
from benchmarks.soak_engine.memory import resident_mib
from services.inference.engine.loop import EngineLoop

WARM, REQUESTS, A_SAMPLE = 2048, 3072, 128  # the arena's pages are all touched only after many requests
CALLERS, TOKENS = 16, 8
MOST_MIB = 1.0


def main() -> None:
    parser = arguments("engine.memory")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--requests", type=int, default=REQUESTS, help="after those that warm it")
    parser.add_argument(
        "settings", nargs="*", default=["dtype=bfloat16"], metavar="NAME=VALUE", help="of EngineSettings"
    )
    options = parser.parse_args()
    callers = Callers()
    loop = EngineLoop(opened(endless(options.home), options.settings), callers)
    callers.start(loop)
    short = sorted(COLUMNS["64"].asks, key=lambda ask: len(ask.prompt))[:32]
    asks = [replace(ask, tokens=TOKENS) for ask in short] * (A_SAMPLE // len(short))
    samples = []
    for done in range(A_SAMPLE, WARM + options.requests + 1, A_SAMPLE):
        callers.play(asks, CALLERS)
        samples.append((done, resident_mib(os.getpid()) or 0.0))
        print(f"{done} requests: {samples[-1][1]:.1f} MiB", file=sys.stderr, flush=True)
    loop.stop()
    warm = [sample for sample in samples if sample[0] >= WARM]
    slope = statistics.linear_regression(*zip(*warm)).slope * 1000
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    print(
        "\n" + table(["requests", "resident MiB"], [list(sample) for sample in samples[:: max(1, len(samples) // 12)]])
    )
    print(f"\n{slope:.2f} MiB per 1,000 requests after the first {WARM} (must stay below {MOST_MIB:g})")
    write(options.json, {"settings": options.settings, "samples": samples, "mib_per_1000_requests": slope})


if __name__ == "__main__":
    main()
