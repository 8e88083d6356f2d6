"""The output filters of the answers that are being written, bounded in number, each pinned to its policy."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from services.guard.policy.output_filter import Filtered, OutputFilter, check_whole, joined, rebuild
from services.guard.policy.shelf import PolicyShelf


class FilterLost(Exception):
    """There is no filter that this piece could follow: feed the whole text again."""


class FilterKey(NamedTuple):
    """One text of one answer."""

    request_id: str
    choice: int
    channel: int


class Piece(NamedTuple):
    """`n` counts from 0. With `rebuild`, `text` is everything so far, and `released` characters of the output were
    handed out before. `in_json`: it is of a tool's arguments."""

    n: int
    text: str
    last: bool = False
    rebuild: bool = False
    released: int = 0
    in_json: bool = False


@dataclass
class _Open:
    filter: OutputFilter | None  # gone after the last piece, whose answer is still repeated
    digest: bytes
    piece: Piece  # the last one taken
    answer: Filtered
    used: float


class OpenFilters:
    """Takes each piece once: a piece sent again is answered again, identically.

    Past `most` filters the one idle longest is forgotten, past `idle_seconds` every one is; whoever still needs it is
    told FilterLost and rebuilds it, so a bound costs time and never text."""

    def __init__(self, shelf: PolicyShelf, most: int, idle_seconds: float, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._shelf, self._most, self._idle, self._clock = shelf, most, idle_seconds, clock
        self._open: OrderedDict[FilterKey, _Open] = OrderedDict()  # the longest idle first

    def __len__(self) -> int:
        return len(self._open)

    def take(self, key: FilterKey, digest: bytes, piece: Piece) -> Filtered:
        """Raises FilterLost, PolicyUnknown or CannotResume."""
        turn = self.begin(key, digest, piece)
        answer = turn.run()
        self.keep(turn)
        return answer

    def begin(self, key: FilterKey, digest: bytes, piece: Piece) -> "Turn":
        """What a piece will do. Run it once, on any thread, and keep it before the next of its key is begun."""
        self._forget_idle()
        known = self._open.get(key)
        if known and known.piece == piece and known.digest == digest:
            return Turn(key, known)
        fresh = _Open(None, digest, piece, Filtered(""), self._clock())
        if piece.rebuild:
            bundle = self._shelf.get(digest)
            return Turn(
                key, fresh, lambda: _fed(rebuild(bundle, piece.text, piece.released, piece.in_json), "", piece.last)
            )
        if piece.n == 0 and known is None:
            bundle = self._shelf.get(digest)
            if piece.last:
                return Turn(key, fresh, lambda: (None, check_whole(bundle, piece.text, piece.in_json)))
            return Turn(key, fresh, lambda: _fed(OutputFilter(bundle, piece.in_json), piece.text, last=False))
        if known is None or known.digest != digest or known.piece.last or piece.n != known.piece.n + 1:
            raise FilterLost
        return Turn(key, fresh, lambda: _fed(known.filter, piece.text, piece.last))

    def keep(self, turn: "Turn") -> None:
        """Remembers a piece that has been run."""
        self._open[turn.key] = turn.entry
        self._open.move_to_end(turn.key)
        while len(self._open) > self._most:
            self._open.popitem(last=False)

    def _forget_idle(self) -> None:
        now = self._clock()
        while self._open:
            key, entry = next(iter(self._open.items()))
            if now - entry.used <= self._idle:
                return
            del self._open[key]


@dataclass
class Turn:
    """The work of one piece; none where its answer is repeated."""

    key: FilterKey
    entry: _Open
    work: Callable[[], tuple[OutputFilter | None, Filtered]] | None = None

    def run(self) -> Filtered:
        if self.work is not None:
            self.entry.filter, self.entry.answer = self.work()
        return self.entry.answer


def _fed(output_filter: OutputFilter | None, text: str, last: bool) -> tuple[OutputFilter | None, Filtered]:
    """The filter for the next piece, and what this one sets free."""
    assert output_filter is not None, "a filter goes only with its last piece, after which none follows"
    fed = output_filter.feed(text)
    return (None, joined(fed, output_filter.finish())) if last else (output_filter, fed)
