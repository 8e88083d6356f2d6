"""The same seeded arrivals at 70 % of what `generate` carries one by one: its callers' mean latency, and ours.

One by one is measured as service times, all questions in turn; who waits for whom follows from them and the arrivals
(each starts when it has come and the one before it has ended). Ours is asked at those seconds.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engine.contenders import OURS, ROWS, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import Column
from benchmarks.report import arguments, machine, table, write

LOAD, LEAST = 0.7, 2.9
ALL = Column("one by one", callers=1, questions=64)


def in_turn(arrivals: list[float], services: list[float]) -> list[float]:
    """Latencies of a line with one server, first come, first served."""
    free, latencies = 0.0, []
    for at, service in zip(arrivals, services, strict=True):
        free = max(free, at) + service
        latencies.append(free - at)
    return latencies


def main() -> None:
    parser = arguments("engine.poisson")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--questions", type=int, default=ALL.questions)
    parser.add_argument("--seed", type=int, default=7, help="of the arrivals")
    options = parser.parse_args()
    model = endless(options.home)
    column = replace(ALL, questions=options.questions)
    with opened(ROWS["generate-bf16"], model) as generate:
        services = _latencies(generate.measure(column))
    rate = LOAD / statistics.mean(services)
    paced = replace(column, name="paced", per_second=rate, seed=options.seed)
    with opened(ROWS[OURS], model) as ours:
        batched = _latencies(ours.measure(paced))
    alone = in_turn(paced.arrivals, services)
    result = {
        "seed": options.seed,
        "per_second": rate,
        "one_by_one": _figures(alone),
        "ours": _figures(batched),
        "ratio": statistics.mean(alone) / statistics.mean(batched),
    }
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    rows = [[name, *result[name].values()] for name in ("one_by_one", "ours")]
    print("\n" + table(["latency, seconds", "mean", "p50", "longest"], rows))
    print(
        f"\n{len(alone)} questions, {rate:.3f} a second: ours is {result['ratio']:.2f} x lower (must reach {LEAST:g})"
    )
    write(options.json, result)


def _latencies(told: dict[str, Any]) -> list[float]:
    """In the order in which they were asked."""
    answers = sorted(told["answers"], key=lambda answer: float(answer["asked"]))
    return [answer["ended"] - answer["asked"] for answer in answers]


def _figures(seconds: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(seconds), "p50": statistics.median(seconds), "longest": max(seconds)}


if __name__ == "__main__":
    main()
