"""Where a decode step's time goes, 16 rows: what is not the model's forward, and the forward by operation.

Timed from outside: the runner is wrapped, and a step lasts from one pass's start to the next one's, with the engine's
loop, sampling, detokenising and delivery in it. The profiler counts operations; its own cost is in its milliseconds.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine.drivers.ours import Callers, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import COLUMNS
from benchmarks.report import arguments, machine, table, write
from services.inference.engine.batch import Segment
from services.inference.engine.loop import EngineLoop

ROWS, TOKENS, PROFILED_STEPS, SHOWN = 16, 288, 20, 16
MOST_SHARE = 0.05
KINDS = (
    ("attention", ("attention", "flash", "bmm", "softmax")),
    ("matmul", ("linear", "mm", "matmul", "onednn", "mkldnn")),
    ("copies", ("copy", "index", "cat", "scatter", "clone", "to", "pad", "slice", "contiguous", "gather")),
)


class TimedRunner:
    """A runner that notes when each pass of decoding rows began and ended, in nanoseconds."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.passes: list[tuple[int, int, bool]] = []
        self.profiled: torch.profiler.profile | None = None
        self._left = 0
        self.over = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, segments: Sequence[Segment]) -> Tensor:
        full = len(segments) == ROWS and all(segment.decodes for segment in segments)
        if full and self._left:
            return self._profiled(segments)
        began = time.perf_counter_ns()
        logits: Tensor = self._runner.run(segments)
        self.passes.append((began, time.perf_counter_ns(), full))
        return logits

    def profile(self, passes: int) -> None:
        """The next full passes run under the profiler, on the thread that runs them."""
        self._left = passes
        self.profiled = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def _profiled(self, segments: Sequence[Segment]) -> Tensor:
        assert self.profiled
        if self._left == PROFILED_STEPS:
            self.profiled.start()
        logits: Tensor = self._runner.run(segments)
        self._left -= 1
        if not self._left:
            self.profiled.stop()
            self.over.set()
        return logits


def timed(passes: list[tuple[int, int, bool]]) -> dict[str, float]:
    """Milliseconds of steps in which all rows decode, as medians."""
    whole = [
        (after[0] - before[0], before[1] - before[0])
        for before, after in itertools.pairwise(passes)
        if before[2] and after[2]
    ]
    step = statistics.median(step for step, _ in whole) / 1e6
    rest = statistics.median(step - forward for step, forward in whole) / 1e6
    share = sum(step - forward for step, forward in whole) / sum(step for step, _ in whole)
    return {"steps": len(whole), "step_ms": step, "not_forward_ms": rest, "not_forward_share": share}


def operations(profiled: torch.profiler.profile) -> list[dict[str, Any]]:
    """By their own time, most first."""
    found = [
        {
            "operation": event.key,
            "calls": event.count / PROFILED_STEPS,
            "ms": event.self_cpu_time_total / 1000 / PROFILED_STEPS,
        }
        for event in profiled.key_averages()
    ]
    return sorted(found, key=lambda each: -each["ms"])


def kind(operation: str) -> str:
    name = operation.lower()
    return next((kind for kind, parts in KINDS if any(part in name for part in parts)), "element-wise and the rest")


def main() -> None:
    parser = arguments("engine.step")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument(
        "settings", nargs="*", default=["dtype=bfloat16"], metavar="NAME=VALUE", help="of EngineSettings"
    )
    options = parser.parse_args()
    engine: Any = opened(endless(options.home), options.settings)
    runner = engine._runner = TimedRunner(engine._runner)
    callers = Callers()
    loop = EngineLoop(engine, callers)
    callers.start(loop)
    # The shortest prompts: all rows decode while none has ended, whatever a step's budget is.
    shortest = sorted(COLUMNS["16"].asks, key=lambda ask: len(ask.prompt))[:ROWS]
    asks = [replace(ask, tokens=TOKENS) for ask in shortest]
    callers.play(asks, ROWS)
    runner.passes.clear()
    callers.play(asks, ROWS)
    times = timed(runner.passes)
    runner.profile(PROFILED_STEPS)
    callers.play(asks, ROWS)
    loop.stop()
    assert runner.profiled
    result = {"settings": options.settings, "step": times, "operations": operations(runner.profiled)}
    show(result)
    write(options.json, result)


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    step = result["step"]
    print(
        f"\n{ROWS} rows, {' '.join(result['settings'])}: a step takes {step['step_ms']:.1f} ms (p50 of {step['steps']})"
    )
    print(
        f"not the forward: {step['not_forward_ms']:.2f} ms, {step['not_forward_share']:.1%} (at most {MOST_SHARE:.0%})"
    )
    told = result["operations"]
    whole = sum(each["ms"] for each in told)
    sums = [[name, sum(each["ms"] for each in told if kind(each["operation"]) == name)] for name in _kinds()]
    print("\n" + table(["under the profiler", "ms a step", "%"], [[*row, 100 * row[1] / whole] for row in sums]))
    rows = [[each["operation"], each["calls"], each["ms"], 100 * each["ms"] / whole] for each in told[:SHOWN]]
    print("\n" + table(["operation, its own time", "calls a step", "ms a step", "%"], rows))


def _kinds() -> list[str]:
    return [*(name for name, _ in KINDS), "element-wise and the rest"]


if __name__ == "__main__":
    main()
