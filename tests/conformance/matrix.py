"""The table of docs/engines.md: which engine has what, from a run of this suite.

`make conformance` writes the columns of the engines that it ran; those of engines that are not installed stay as they
are.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from services.inference.engine.features import FEATURES
from services.inference.engine.seat import CANDIDATES

DOCUMENT = Path(__file__).parents[2] / "docs" / "engines.md"
BEGIN, END = "<!-- matrix -->", "<!-- end of matrix -->"
YES, NO, NOT_RUN, FAILED = "yes", "–", "?", "FAILS"

# What no engine may lack.
PROMISES = {
    "usage": "every answer ends once, with its counts",
    "streaming": "text comes as it is made",
    "continuation": "an answer that another worker began goes on token for token",
    "cancel": "what is cancelled is in no later step, and its room is free",
    "deadline": "no step holds a request after its deadline",
    "room": "a full engine refuses, and takes the next when one has left",
    "errors": "what cannot run is refused by the name of its field",
    "drain": "what a stopping worker hands back is lost to nobody",
    "trace": "queue wait, prefill and decode are spans of the request's trace, and name the engine",
    "record": "name and version of the engine stand in the record's parameters",
}
ROWS = PROMISES | {feature.name: feature.meaning for feature in FEATURES}

Matrix = dict[str, dict[str, str]]  # by engine, then row


class Results:
    """What the tests of a run said of each engine and row."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], set[str]] = defaultdict(set)

    def note(self, engine: str, rows: list[str], outcome: str) -> None:
        """`outcome` as pytest has it; a skip is of a feature that the engine lacks."""
        for row in rows:
            self._seen[engine, row].add(outcome)

    def matrix(self) -> Matrix:
        found: Matrix = {}
        for (engine, row), outcomes in self._seen.items():
            cell = FAILED if "failed" in outcomes else YES if "passed" in outcomes else NO
            found.setdefault(engine, {})[row] = cell
        return found


def read(document: str) -> Matrix:
    lines = _table(document).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    if not cells:
        return {}
    engines = cells[0][2:]
    found: Matrix = {engine: {} for engine in engines}
    for row in cells[2:]:
        for engine, cell in zip(engines, row[2:], strict=True):
            found[engine][row[0].strip("`")] = cell
    return found


def written(document: str, ran: Matrix) -> str:
    """The document with the columns of the engines that ran."""
    found = read(document) | ran
    matrix = {engine: found.get(engine, {}) for engine in (*CANDIDATES, *(found.keys() - CANDIDATES.keys()))}
    lines = [
        "| | | " + " | ".join(matrix) + " |",
        "|---|---|" + ":-:|" * len(matrix),
        *(
            f"| `{row}` | {meaning} | " + " | ".join(of.get(row, NOT_RUN) for of in matrix.values()) + " |"
            for row, meaning in ROWS.items()
        ),
    ]
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def _table(document: str) -> str:
    _, _, rest = document.partition(BEGIN)
    table, _, _ = rest.partition(END)
    return table
