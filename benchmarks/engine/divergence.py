"""What batch mates change (invariant 11): greedy answers of the same prompts, asked alone and among others.

In fp32 nothing, by design. In other modes a matrix product of many rows adds up in another order than that of one, and
a last bit can turn a greedy choice between two words that are about as likely; from there on the answers part.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.engine.drivers.ours import Callers, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import COLUMNS
from benchmarks.report import arguments, machine, table, write
from services.inference.engine.loop import EngineLoop

ALONE, BESIDE = 1, (4, 16, 64)
Answers = dict[int, list[int]]  # token ids, by the question's id


def main() -> None:
    parser = arguments("engine.divergence")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument(
        "modes",
        nargs="*",
        default=["dtype=float32", "dtype=bfloat16"],
        metavar="NAME=VALUE,…",
        help="of EngineSettings; the first is what the others are compared with, each answer alone",
    )
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    first: Answers = {}
    for mode in options.modes:
        answers = answered(options.home, mode.split(","))
        first = first or answers[ALONE]
        rows += [
            {"mode": mode, "with": f"{callers} callers", **parting(answers[ALONE], answers[callers])}
            for callers in BESIDE
        ]
        if mode != options.modes[0]:
            rows.append({"mode": mode, "with": options.modes[0], **parting(first, answers[ALONE])})
    show(rows)
    write(options.json, {"questions": COLUMNS["16"].questions, "rows": rows})


def answered(home: Path, settings: list[str]) -> dict[int, Answers]:
    """The same questions by one caller, then by more."""
    callers = Callers()
    loop = EngineLoop(opened(endless(home), settings), callers)
    callers.start(loop)
    asks = COLUMNS["16"].asks
    found = {count: {each.id: each.tokens for each in callers.play(asks, count)} for count in (ALONE, *BESIDE)}
    loop.stop()
    return found


def parting(alone: Answers, beside: Answers) -> dict[str, float]:
    """How many answers stay what they are, and how much of all comes before the first token that differs."""
    agreed = [sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(alone[id], beside[id]))) for id in alone]
    whole = [len(tokens) for tokens in alone.values()]
    return {
        "same_answers": sum(map(int.__eq__, agreed, whole)) / len(whole),
        "same_tokens": sum(agreed) / sum(whole),
    }


def show(rows: list[dict[str, Any]]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    told = [[row["mode"], row["with"], 100 * row["same_answers"], 100 * row["same_tokens"]] for row in rows]
    header = ["mode, each alone", "compared with", "answers the same, %", "tokens before they part, %"]
    print("\n" + table(header, told))


if __name__ == "__main__":
    main()
