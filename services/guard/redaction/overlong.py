"""A match that was still open at its bound: masked from its start, and swallowed piece by piece to its end."""

import re
from dataclasses import dataclass

from services.guard.redaction.finding import Span, Window
from services.guard.redaction.masking import Masking

PIECE = 128  # characters swallowed at a time, so that memory stays bounded however long the match is
RULE = "open-at-bound"


@dataclass
class Overlong:
    """`origin`: where the match began. `seen`: up to here it is known to be one match."""

    origin: int
    seen: int
    masking: Masking
    continuing: re.Pattern[str]  # matches what still belongs to it

    def shift(self, count: int) -> None:
        self.origin -= count
        self.seen -= count

    def next_piece(self, window: Window, start: int) -> Span | None:
        """The piece from `start` on; the last one is `complete` and never empty. None: more text is needed."""
        first = start == self.origin
        cut = self.seen if first else start + PIECE
        belonging = self.continuing.match(window.kinds, self.seen if first else start, cut + 1)
        end = belonging.end() if belonging else cut
        if end <= cut and end == len(window) and not window.ended:
            return None
        mask = self.masking.mask_of_open_match() if first else ""
        return Span(self.masking.entity, start, min(end, cut), mask, RULE, self.origin, complete=end <= cut)
