"""Which rows of a flat pass are whose, and which of them attend at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from services.inference.engine.batch import Segment

# Measured in bfloat16: a group more in a pass costs as much as filling up some queries, or as looking over so many
# tokens in vain, of one row or of all that decode together.
FEW_QUERIES = 8
_FILLED_QUERIES = 64  # of a group whose rows do not have as many each: room for all that are guessed, not tuned
_UNEVEN_TOKENS = 512
_GROUP_TOKENS = 2000
# oneDNN compiles a kernel for each number of rows it has not seen: 10 ms of a pass of 70, of which every prompt has
# another length. Many rows are therefore filled up to a multiple of these.
FILLED_ROWS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Spans:
    """A pass's tokens, one below the other."""

    ids: list[int]
    positions: list[int]
    slots: list[int]  # of each token
    wanted: list[int]  # rows whose logits are wanted

    @staticmethod
    def of(segments: Sequence[Segment]) -> Spans:
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        for segment in segments:
            first, count = len(ids), len(segment.ids)
            ids += segment.ids
            positions += range(segment.start, segment.end)
            slots += [segment.slot] * count
            wanted += range(first + count - segment.logits, first + count)
        return Spans(ids=ids, positions=positions, slots=slots, wanted=wanted)


@dataclass(slots=True)
class Group:
    """Rows that attend at once: slots with a few queries each, or one slot with a chunk."""

    rows: list[int] = field(default_factory=list)  # of the pass, in order
    slots: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)  # queries of each slot
    queries: int = 0  # of each slot, once those that have fewer are filled up
    end: int = 0  # the longest slot's tokens, those of this pass included

    @property
    def own(self) -> slice | Tensor:
        """Its rows of the pass."""
        first, last = self.rows[0], self.rows[-1]
        return slice(first, last + 1) if last - first < len(self.rows) else torch.tensor(self.rows)

    @property
    def neighbours(self) -> bool:
        return self.slots[-1] - self.slots[0] < len(self.slots)

    def add(self, first: int, segment: Segment) -> None:
        """The next slot, whose rows begin with that one."""
        count = len(segment.ids)
        self.rows += range(first, first + count)
        self.slots.append(segment.slot)
        self.counts.append(count)
        self.queries, self.end = max(self.queries, count), max(self.end, segment.end)

    def takes(self, segment: Segment) -> bool:
        """Not where one would look over far more than it has: another group costs less than that."""
        count, most = len(segment.ids), max(self.queries, len(segment.ids))
        alike = (count == self.queries and most <= FEW_QUERIES) or (len(self.slots) + 1) * most <= _FILLED_QUERIES
        short, long = sorted((segment.end, self.end))
        near = long - short < _UNEVEN_TOKENS or long < 2 * short
        return alike and near and segment.slot == self.slots[-1] + 1

    def parts(self, most: int) -> list[Group]:
        """A long chunk in pieces: the earlier ones do not look over what only the later ones see."""
        if len(self.slots) > 1 or self.queries <= FEW_QUERIES:
            return [self]
        pieces, start = list[Group](), self.end - self.queries
        for begin in range(0, self.queries, most):
            rows = self.rows[begin : begin + most]
            filled = len(rows) + -len(rows) % FILLED_ROWS
            pieces.append(Group(rows, self.slots, [len(rows)], filled, start + begin + len(rows)))
        return pieces

    def filled(self) -> Tensor | None:
        """The group's query at each place of [slots × queries], a slot's last one over again where it has no more;
        None where all have as many."""
        if min(self.counts) == self.queries:
            return None
        counts = torch.tensor(self.counts)[:, None]
        firsts = counts.cumsum(0) - counts
        return (firsts + torch.arange(self.queries).minimum(counts - 1)).flatten()

    def places(self) -> Tensor:
        """Where the group's queries stand in [slots × queries]."""
        return (torch.arange(self.queries) < torch.tensor(self.counts)[:, None]).flatten().nonzero()[:, 0]


def neighbouring(segments: Sequence[Segment]) -> list[Group]:
    """Neighbouring slots with about as many queries."""
    return _neighbouring(_placed(segments))


def by_length(segments: Sequence[Segment], view_tokens: int) -> list[Group]:
    """Where nobody guesses, those who decode by the length of what they look over, which is a multiple of
    `view_tokens`, wherever their slots are."""
    placed = _placed(segments)
    one = [each for each in placed if len(each[1].ids) == 1]
    others = [each for each in placed if len(each[1].ids) > 1]
    if any(len(segment.ids) <= FEW_QUERIES for _, segment in others):
        return _neighbouring(placed)
    return _cut(one, view_tokens) + _neighbouring(others)


_Placed = tuple[int, Segment]  # with its first row of the pass


def _placed(segments: Sequence[Segment]) -> list[_Placed]:
    placed, row = list[_Placed](), 0
    for segment in segments:
        placed.append((row, segment))
        row += len(segment.ids)
    return placed


def _neighbouring(placed: Sequence[_Placed]) -> list[Group]:
    groups: list[Group] = []
    for first, segment in placed:
        if not (groups and groups[-1].takes(segment)):
            groups.append(Group())
        groups[-1].add(first, segment)
    return groups


def _cut(placed: Sequence[_Placed], view_tokens: int) -> list[Group]:
    """The cheapest groups, each of which looks over as many tokens as its longest has: rows × tokens, and a price each.

    By the best ways to cut the shorter ones (dynamic programming); those of one length stay together.
    """
    lengths = sorted((-(-segment.end // view_tokens) * view_tokens, first, segment) for first, segment in placed)
    ends = [end for end, _, _ in lengths]
    bounds = [n for n in range(len(ends) + 1) if n in (0, len(ends)) or ends[n] != ends[n - 1]]
    best = {0: (0, 0)}  # the price of so many of the shortest, and how many of them are in other groups than the last
    for n, bound in enumerate(bounds[1:], 1):
        best[bound] = min((best[cut][0] + (bound - cut) * ends[bound - 1] + _GROUP_TOKENS, cut) for cut in bounds[:n])
    groups, until = list[Group](), len(ends)
    while until:
        cut = best[until][1]
        groups.append(group := Group())
        for _, first, segment in sorted(lengths[cut:until], key=lambda each: each[1]):
            group.add(first, segment)
        until = cut
    return groups
