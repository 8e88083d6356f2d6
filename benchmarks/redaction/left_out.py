"""Names and addresses on templates left out: those of the folder were trained on, so models without them judge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from services.guard.training import judging, names, scoring
from services.guard.training.sentences import read_marked, read_plain

FOLDS = 10  # each template is left out once, with a tenth of the others


def trained_on(folder: Path) -> bool:
    return (folder / "pii" / "train.jsonl").is_file()


def judged(folder: Path, folds: int) -> dict[str, list[scoring.Outcome]]:
    marked, plain = read_marked(folder / "pii" / "train.jsonl"), read_plain(folder / "train")
    report = lambda line: print(line, file=sys.stderr, flush=True)
    return judging.leave_out(marked, plain, folds, names.SEED, report)


def measured(outcomes: dict[str, list[scoring.Outcome]]) -> tuple[dict[str, Any], list[str]]:
    """For the file, and to be read."""
    figures = list(scoring.figures(outcomes))
    lines = list(scoring.lines(outcomes, figures))
    return {"exact": figures, "others": lines[len(figures) + 2 :]}, lines
