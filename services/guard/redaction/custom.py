"""Recognizers of a firm's own, from its policy: an RE2 pattern over a stretch, and words that must stand before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import re2

from services.guard.redaction.finding import Match
from services.guard.redaction.stretch import Stretch

WIDEST = 64  # characters of a match: with it a stretch's bounds hold
MOST_INSTRUCTIONS = 2_000  # of RE2's program: what one character may cost
_NEAR = 32  # characters before a match in which a word of its context must stand
MOST_MATCHES = 64  # in one stretch


class UnfitPattern(Exception):
    """Says what is wrong with a pattern, and the remedy."""

    def __init__(self, wrong: str, remedy: str) -> None:
        super().__init__(wrong)
        self.wrong, self.remedy = wrong, remedy


class Custom(NamedTuple):
    entity: str
    pattern: Any  # re2 has no types
    context: tuple[str, ...]
    screen: str = ""
    said: int = 0
    least: int = 1
    digits: int = 0

    def find(self, stretch: Stretch) -> list[Match]:
        found: list[Match] = []
        content, at = stretch.content, 0
        while len(found) < MOST_MATCHES and (match := self.pattern.search(content, at)):
            start, end = match.span()
            at = max(end, start + 1)
            if stands_free(content, start, end) and named(stretch, start, self.context):
                place = stretch.start + start
                found.append(Match(self.entity, place, stretch.start + end, match.group(), "policy"))
        return found


def named(stretch: Stretch, start: int, context: Sequence[str]) -> bool:
    """A word of the context stands near before what begins there, if there is a context."""
    if not context:
        return True
    before = stretch.before(stretch.start + start, _NEAR)
    return any(word in before for word in context)


def stands_free(content: str, start: int, end: int) -> bool:
    """Not the middle of a longer word or number."""
    return not (_glued(content[start - 1 : start + 1] if start else "") or _glued(content[end - 1 : end + 1]))


def custom(entity: str, pattern: str, context: Sequence[str]) -> Custom:
    """Raises UnfitPattern."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise UnfitPattern(f"is no RE2 pattern ({_first_line(error)})", "correct it") from None
    least, most = _widths(pattern)
    if not 4 <= least <= most <= WIDEST:
        bound = "any number of" if most > 10_000 else str(most)
        raise UnfitPattern(
            f"matches {least} to {bound} characters", f"let it match 4 to {WIDEST}, with {{n,m}} for + and *"
        )
    if compiled.programsize > MOST_INSTRUCTIONS:
        raise UnfitPattern(f"compiles to {compiled.programsize} steps", f"keep it within {MOST_INSTRUCTIONS}")
    return Custom(entity, compiled, tuple(word.lower() for word in context))


def _widths(pattern: str) -> tuple[int, int]:
    """RE2 does not tell them; Python's parser reads what both know."""
    try:
        parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError):
        raise UnfitPattern("uses what only RE2 knows", "write it as Python's re would read it, too") from None
    least, most = parsed.getwidth()
    return int(least), int(most)


def _glued(pair: str) -> bool:
    return len(pair) == 2 and pair.isascii() and pair.isalnum()


def _first_line(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return (text.decode(errors="replace") if isinstance(text, bytes) else str(text)).splitlines()[0][:80]
