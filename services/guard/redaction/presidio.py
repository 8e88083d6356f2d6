"""Recognizers of Presidio's that a policy names, for stretches as ours are: the optional extra `presidio`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from services.guard.redaction.custom import MOST_MATCHES, WIDEST, UnfitPattern, named, stands_free
from services.guard.redaction.finding import Match
from services.guard.redaction.stretch import Stretch

LEAST = 4  # characters of a match
_FETCHING = {"EmailRecognizer": "EMAIL_ADDRESS"}  # reads a list of domains off the network when it is first asked


class Presidio(NamedTuple):
    """`score`: the one below which Presidio itself trusts a match only beside a word of context."""

    entity: str
    recognizer: Any  # presidio has no types
    score: float
    context: tuple[str, ...]
    screen: str = ""
    said: int = 0
    least: int = 1
    digits: int = 0

    def find(self, stretch: Stretch) -> list[Match]:
        content, found = stretch.content, list[Match]()
        hits = self.recognizer.analyze(content, self.recognizer.supported_entities, None) or ()
        for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
            fits = hit.score >= self.score and LEAST <= hit.end - hit.start <= WIDEST
            if fits and stands_free(content, hit.start, hit.end) and named(stretch, hit.start, self.context):
                start, end = stretch.start + hit.start, stretch.start + hit.end
                found.append(Match(self.entity, start, end, content[hit.start : hit.end], "presidio"))
        return found[:MOST_MATCHES]


def presidio(entity: str, name: str, least: float, context: Sequence[str]) -> Presidio:
    """Raises UnfitPattern."""
    try:
        from presidio_analyzer import PatternRecognizer, predefined_recognizers
    except ImportError:
        raise UnfitPattern(
            f"names {name}, and Presidio is not installed here",
            "install the extra (pip install 'strongroom-suite[presidio]'), or take this recognizer out",
        ) from None
    if name in _FETCHING:
        raise UnfitPattern(f"{name} downloads a list while it runs", f"leave it to {_FETCHING[name]}")
    kind = getattr(predefined_recognizers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, PatternRecognizer)):
        raise UnfitPattern(
            f"is {name!r}", "name one of presidio_analyzer.predefined_recognizers that works by patterns alone"
        )
    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)
    try:
        made = kind()
    except TypeError:
        raise UnfitPattern(f"{name} cannot be made without arguments", "name one that can") from None
    return Presidio(entity, made, least, tuple(word.lower() for word in context))
