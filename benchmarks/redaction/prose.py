"""Texts that nobody labelled: how many are touched, by which class, with and without the model of names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.redaction.rows import Place
from benchmarks.redaction.scoring import Share
from benchmarks.redaction.systems import Masks
from services.guard.redaction.named.detector import CLASSES

UNSEEN = Path(__file__).parents[2] / "tests" / "unit" / "guard" / "unseen_prose"
FINAL = "final_"  # the files that nothing was tuned by
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
        yield path.stem, [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]


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
