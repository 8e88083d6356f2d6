"""A match that was still open at its bound: masked from its start, and swallowed piece by piece to its end."""

import re
from dataclasses import dataclass
from functools import cache

from services.guard.redaction.finding import Match, Span
from services.guard.redaction.secret import PEM_END
from services.guard.redaction.window import Window

PIECE = 128  # characters swallowed at a time, so that memory stays bounded however long the match is
_MARGIN = 64  # more than the line at the end of a private key has
_MARK = "-----END"


@cache
def _continuing(characters: str) -> re.Pattern[str]:
    if "|" in characters:
        body, _, _ = characters.rpartition(f"|{PEM_END}")
        return re.compile(f"((?:{body})*)(?:{PEM_END})?")
    return re.compile(f"((?:{characters})*)")


@dataclass
class Overlong:
    """`seen`: up to here it is known to be one match."""

    match: Match
    origin: int  # of the match, in the original text
    seen: int

    def shift(self, count: int) -> None:
        self.match.start -= count
        self.match.end -= count
        self.seen -= count

    def next_piece(self, window: Window) -> Span | None:
        """The next one; the last one is `complete`. None: more text is needed. Pieces fall at places that the match's
        beginning gives, as what is masked must not depend on when the text came."""
        start, limit = self.seen, self.seen + PIECE + _MARGIN
        first = start == self.match.end
        belonging = _continuing(self.match.goes_on).match(window.plain, start, limit)
        end, body = (belonging.end(), belonging.end(1)) if belonging else (start, start)
        marked = end == body and window.plain.startswith(_MARK, body)  # the line that ends a key may be there in part
        if len(window.plain) < limit and not window.ended and (end == len(window.plain) or marked):
            return None
        complete = body < start + PIECE
        if not complete:
            end = start + PIECE
        self.seen = end
        begin = self.match.start if first else start
        return Span(self.match.entity, begin, end, None, self.match.rule, self.origin, complete)
