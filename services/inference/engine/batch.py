"""What one pass through the model carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of one request, a chunk of its prompt or its newest token.

    A pass holds at most one segment of a request. Its keys and values are written to `slot` at `start` and on.
    """

    slot: int
    start: int  # position of the first id in the request
    ids: Sequence[int] = field(repr=False)
    logits: int = 1  # after how many of the last ids logits are wanted; 0: the prompt goes on in a later pass
    adapter: str = ""  # name of a loaded adapter; empty: none

    @property
    def end(self) -> int:
        return self.start + len(self.ids)

    @property
    def decodes(self) -> bool:
        return len(self.ids) == 1 and self.logits == 1
