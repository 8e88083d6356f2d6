"""The labelled sentences of a folder, and in which written form each piece of personal data stands there."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The classes that a label of the data may be found as; a label that is not here is out of scope.
SCOPE: dict[str, frozenset[str]] = {
    "PERSON": frozenset({"PERSON_NAME"}),
    "ADDRESS": frozenset({"POSTAL_ADDRESS"}),
    "CN_MOBILE": frozenset({"MOBILE_NUMBER", "PHONE_NUMBER"}),
    "PHONE": frozenset({"PHONE_NUMBER", "LANDLINE_NUMBER", "MOBILE_NUMBER"}),
    "CN_ID": frozenset({"RESIDENT_ID"}),
    "CREDIT_CARD": frozenset({"BANK_CARD"}),
    "EMAIL": frozenset({"EMAIL_ADDRESS"}),
    "PASSPORT": frozenset({"PASSPORT_NUMBER"}),
    "SWIFT": frozenset({"SWIFT_CODE"}),
}
WRITTEN_FREELY = frozenset({"PERSON", "ADDRESS"})  # no structure to check: shown apart from the structured classes


@dataclass(frozen=True)
class Place:
    """A label at [start, end), in characters."""

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class Row:
    text: str
    entities: tuple[Place, ...]
    negatives: tuple[Place, ...] = ()  # look like personal data and are none
    elsewhere: tuple[Place, ...] = ()  # of types out of scope: a hit there is neither right nor wrong
    language: str = ""
    source: str = ""
    template: str = ""
    variant: str = ""

    @property
    def harmless(self) -> bool:
        return not self.entities


@dataclass
class Corpus:
    rows: list[Row] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]


def read(folder: Path) -> Corpus:
    """Every *.jsonl of the folder whose lines have `text` and `entities`; others are passed over."""
    corpus = Corpus()
    for path in sorted(folder.rglob("*.jsonl")) if folder.is_dir() else [folder]:
        with path.open(encoding="utf-8") as lines:
            corpus.rows += _rows(lines)
    return corpus


def _rows(lines: Iterator[str]) -> Iterator[Row]:
    for line in lines:
        one = json.loads(line) if line.strip() else {}
        if "text" in one and "entities" in one:
            yield Row(
                one["text"],
                _places(one["entities"], "type"),
                _places(one.get("negatives") or (), "kind"),
                _places(one.get("other_spans") or (), "type"),
                one.get("lang", ""),
                one.get("source", ""),
                str(one.get("template", "")),
                one.get("variant") or "",
            )


def _places(items: Any, label: str) -> tuple[Place, ...]:
    return tuple(Place(item[label], item["start"], item["end"]) for item in items)


def classes_of(label: str) -> frozenset[str]:
    """Which of our classes are a right answer; a label that is a class of ours is its own."""
    return SCOPE.get(label, frozenset({label}))


def written_form(value: str) -> str:
    """How a value is written, as far as its characters tell."""
    if any(unicodedata.category(c) in ("Cf", "Mn", "Me") for c in value):
        return "invisible"
    if re.search(r"\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}", value):
        return "escaped"
    if any("\uff01" <= c <= "\uff5e" for c in value):
        return "full-width"
    if re.search("[〇零一二三四五六七八九壹贰叁肆伍陆柒捌玖幺]{5}", value):
        return "Chinese digits"
    if "\n" in value:
        return "over lines"
    if re.match(r"\(?(?:\+|00)\d", value):
        return "country code"
    return _separated(value)


def _separated(value: str) -> str:
    if not re.search(r"\d", value) or "@" in value:
        return "plain"
    for form, pattern in (("spaced", r"[A-Z0-9] +[A-Z0-9(]"), ("dashed", r"\d[-–—]\d"), ("dotted", r"\d[.·]\d")):
        if re.search(pattern, value):
            return form
    return "plain"
