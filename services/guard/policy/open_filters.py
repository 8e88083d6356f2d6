"""The output filters of the answers that are being written, bounded in number, each pinned to its policy."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.guard.policy.output_filter import Filtered, OutputFilter, rebuild
from services.guard.policy.shelf import PolicyShelf


class FilterLost(Exception):
    """There is no filter that this piece could follow: feed the whole text again."""


@dataclass(frozen=True)
class FilterKey:
    """One text of one answer."""

    request_id: str
    choice: int
    channel: int


@dataclass(frozen=True)
class Piece:
    """`n` counts from 0. With `rebuild`, `text` is everything so far, and `released` characters of the output were
    handed out before."""

    n: int
    text: str
    last: bool = False
    rebuild: bool = False
    released: int = 0


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
            return Turn(key, known, lambda: known.filter, again=True)
        fresh = _Open(None, digest, piece, Filtered(""), self._clock())
        if piece.rebuild:
            bundle = self._shelf.get(digest)
            return Turn(key, fresh, lambda: rebuild(bundle, piece.text, piece.released))
        if piece.n == 0 and known is None:
            bundle = self._shelf.get(digest)
            return Turn(key, fresh, lambda: OutputFilter(bundle))
        if known is None or known.digest != digest or known.piece.last or piece.n != known.piece.n + 1:
            raise FilterLost
        return Turn(key, fresh, lambda: known.filter)

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
    """The work of one piece."""

    key: FilterKey
    entry: _Open
    obtain: Callable[[], OutputFilter | None]
    again: bool = False

    def run(self) -> Filtered:
        if not self.again:
            self.entry.filter = self.obtain()
            assert self.entry.filter is not None, "a filter goes only with its last piece, after which none follows"
            piece = self.entry.piece
            self.entry.answer = _answer(self.entry.filter, "" if piece.rebuild else piece.text, piece.last)
            if piece.last:
                self.entry.filter = None
        return self.entry.answer


def _answer(output_filter: OutputFilter, text: str, last: bool) -> Filtered:
    fed = output_filter.feed(text)
    if not last:
        return fed
    rest = output_filter.finish()
    return Filtered(
        fed.released + rest.released, fed.findings + rest.findings, rest.withheld, fed.flagged + rest.flagged
    )
