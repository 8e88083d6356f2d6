"""Prose of our own and texts that nobody labelled: how many are touched, by which class; who is named is found."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.redaction.rows import Corpus, Place, Row
from benchmarks.redaction.scoring import Share
from benchmarks.redaction.systems import Masks
from services.guard.redaction.named.detector import CLASSES

UNSEEN = Path(__file__).parents[2] / "tests" / "unit" / "guard" / "unseen_prose"
FRESH = "fresh_"  # the files that nothing was tuned by
PEOPLE = "people_"  # sentences that name somebody, marked; nothing was tuned by them either
_MARKED = re.compile(r"\[([PA]) ([^]]+)\]")
_LABELS = {"P": "PERSON", "A": "ADDRESS"}
_NAMED = frozenset(CLASSES.values())


@dataclass
class Touched:
    """Of one set of texts. `structured`: by a class with a structure, whatever else is found."""

    texts: Share = field(default_factory=Share)
    structured: Share = field(default_factory=Share)
    classes: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        shares = {"touched": self.texts, "by_structured_classes": self.structured}
        told = {
            name: {"hits": share.hits, "of": share.all, "percent": share.percent, "interval": share.interval}
            for name, share in shares.items()
        }
        return {**told, "classes": dict(self.classes.most_common())}


def touched(answers: Sequence[Sequence[Place]]) -> Touched:
    result = Touched()
    for places in answers:
        result.texts.add(bool(places))
        result.structured.add(any(place.label not in _NAMED for place in places))
        result.classes.update({place.label for place in places})
    return result


def finance_prose() -> Iterator[tuple[str, list[str]]]:
    """Our own sentences that hold no personal data, written before any model had read them."""
    for path in sorted(UNSEEN.glob("*.txt")):
        if not path.stem.startswith(PEOPLE):
            yield path.stem, _lines(path)


def people() -> Iterator[tuple[str, Corpus]]:
    """Our own sentences that name people and give addresses, with both marked."""
    for path in sorted(UNSEEN.glob(f"{PEOPLE}*.txt")):
        yield path.stem, Corpus([marked(line) for line in _lines(path)])


def _lines(path: Path) -> list[str]:
    written = path.read_text(encoding="utf-8").splitlines()
    return [line.replace("\\n", "\n") for line in written if not line.startswith("# ")]


def marked(line: str) -> Row:
    """A line with [P somebody] and [A an address] in it."""
    text, places, end = "", [], 0
    for mark in _MARKED.finditer(line):
        text += line[end : mark.start()]
        places.append(Place(_LABELS[mark[1]], len(text), len(text) + len(mark[2])))
        text += mark[2]
        end = mark.end()
    return Row(text + line[end:], tuple(places))


def harmless_prompts(folder: Path) -> list[str]:
    """Those labelled benign, beside the marked sentences; the model of names was shown some of their sources."""
    rows = (json.loads(line) for path in sorted(folder.glob("train/*.jsonl")) for line in path.open(encoding="utf-8"))
    return [row["text"] for row in rows if row.get("label") == "benign"]


def judged(folder: Path, systems: dict[str, Masks]) -> dict[str, dict[str, Touched]]:
    """By set of texts and system."""
    sets = dict(finance_prose())
    if prompts := harmless_prompts(folder):
        sets["harmless prompts"] = prompts
    return {name: {one: touched(masks(texts)) for one, masks in systems.items()} for name, texts in sets.items()}
