"""Attention of a flat pass over the slot cache: each newest token over its own past, each chunk over its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from services.inference.engine.batch import Segment
from services.inference.engine.torch_attention import QUERY_ROWS, VIEW_TOKENS
from services.inference.engine.torch_slots import SlotCache

# Measured in bfloat16: up to so many query rows and heads torch's kernel takes less than products and a copy of the
# keys; a long chunk's earlier queries see so much less that pieces pay; a group more in a pass costs as much as
# filling up some queries, or as looking over some hundred tokens in vain.
_BLOCKED_ROWS = 18
_FEW_QUERIES = 8
_CHUNK_QUERIES = 128
_FILLED_QUERIES = 64  # of a group whose rows do not have as many each: room for all that are guessed, not tuned
_UNEVEN_TOKENS = 512
# oneDNN compiles a kernel for each number of rows it has not seen: 10 ms of a pass of 70, of which every prompt has
# another length. Many rows are therefore filled up to a multiple of these.
FILLED_ROWS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Spans:
    """Which rows of a flat pass are whose."""

    ids: list[int]
    positions: list[int]
    slots: list[int]  # of each token
    wanted: list[int]  # rows whose logits are wanted
    groups: list[Group]

    @staticmethod
    def of(segments: Sequence[Segment]) -> Spans:
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        groups: list[Group] = []
        for segment in segments:
            first, count = len(ids), len(segment.ids)
            ids += segment.ids
            positions += range(segment.start, segment.end)
            slots += [segment.slot] * count
            wanted += range(first + count - segment.logits, first + count)
            if not (groups and groups[-1].takes(segment)):
                groups.append(Group(first=first, slot=segment.slot))
            groups[-1].add(count, segment.end)
        return Spans(ids=ids, positions=positions, slots=slots, wanted=wanted, groups=groups)


@dataclass(slots=True)
class Group:
    """Rows that attend at once: neighbouring slots with a few queries each, or one slot with a chunk."""

    first: int  # row of the pass
    slot: int  # the first
    counts: list[int] = field(default_factory=list)  # queries of each slot
    queries: int = 0  # of each slot, once those that have fewer are filled up
    end: int = 0  # the longest row's tokens, those of this pass included
    tokens: int = 0  # of this pass

    @property
    def rows(self) -> int:
        return len(self.counts)

    @property
    def own(self) -> slice:
        """Its rows of the pass."""
        return slice(self.first, self.first + self.tokens)

    def add(self, count: int, end: int) -> None:
        """The next slot. What every layer asks for is kept, not summed up anew at each."""
        self.counts.append(count)
        self.tokens += count
        self.queries, self.end = max(self.queries, count), max(self.end, end)

    def takes(self, segment: Segment) -> bool:
        """Not where one would look over far more than it has: another group costs less than that."""
        count, most = len(segment.ids), max(self.queries, len(segment.ids))
        alike = (count == self.queries and most <= _FEW_QUERIES) or (self.rows + 1) * most <= _FILLED_QUERIES
        short, long = sorted((segment.end, self.end))
        near = long - short < _UNEVEN_TOKENS or long < 2 * short
        return alike and near and segment.slot == self.slot + self.rows

    def parts(self, most: int) -> list[Group]:
        """A long chunk in pieces: the earlier ones do not look over what only the later ones see."""
        if self.rows > 1 or self.queries <= _FEW_QUERIES:
            return [self]
        pieces, start = list[Group](), self.end - self.queries
        for begin in range(0, self.queries, most):
            count = min(most, self.queries - begin)
            pieces.append(Group(first=self.first + begin, slot=self.slot))
            pieces[-1].add(count, start + begin + count)
            pieces[-1].queries += -count % FILLED_ROWS
        return pieces

    def filled(self) -> Tensor | None:
        """The group's query at each place of [rows × queries], a row's last one over again where it has no more;
        None where all have as many."""
        if min(self.counts) == self.queries:
            return None
        counts = torch.tensor(self.counts)[:, None]
        firsts = counts.cumsum(0) - counts
        return (firsts + torch.arange(self.queries).minimum(counts - 1)).flatten()

    def places(self) -> Tensor:
        """Where the group's queries stand in [rows × queries]."""
        return (torch.arange(self.queries) < torch.tensor(self.counts)[:, None]).flatten().nonzero()[:, 0]


@dataclass(frozen=True, slots=True)
class _Look:
    """A group with what all layers need for it."""

    group: Group
    view: int
    bias: Tensor
    blocked: bool  # attention by torch's blocked kernel, else by matrix products
    filled: Tensor | None
    places: Tensor | None


class Attention:
    """Called once a layer; `look` before says what the pass holds."""

    def __init__(
        self,
        cache: SlotCache,
        heads: int,
        key_heads: int,
        size: int,
        *,
        context: int,
        dtype: torch.dtype,
    ) -> None:
        self._cache = cache
        self._heads, self._key_heads, self._size = heads, key_heads, size
        self._sharing = heads // key_heads  # query heads to a key head
        self._context, self._dtype = context, dtype
        # In fp32 a row's bits must not depend on its neighbours: see torch_attention.
        self._exact = dtype is torch.float32
        self._view_tokens = VIEW_TOKENS if self._exact else 32  # the visible part is a multiple of this
        self._scale = size**-0.5
        like = torch.empty(1, key_heads, 1, size, dtype=dtype)
        cache.prepare(like, like)
        self._looks: list[_Look] = []
        self._places = torch.empty(0, dtype=torch.long)
        self._tokens = torch.arange(context)

    def look(self, spans: Spans, positions: Tensor) -> None:
        slots = torch.tensor(spans.slots)
        rows = slots[:, None] * self._key_heads + torch.arange(self._key_heads)
        self._places = (rows * self._context + positions[:, None]).flatten()
        parts = [part for group in spans.groups for part in ([group] if self._exact else group.parts(_CHUNK_QUERIES))]
        self._looks = [self._look(part, positions) for part in parts]

    def _look(self, group: Group, positions: Tensor) -> _Look:
        view = min(-(-group.end // self._view_tokens) * self._view_tokens, self._context)
        filled, own = group.filled(), positions[group.own]
        hidden = self._tokens[:view] > (own if filled is None else own[filled])[:, None]
        bias = torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, float("-inf"))
        blocked = self._exact or group.rows * group.queries * self._heads <= _BLOCKED_ROWS
        bias = self._spread(bias.view(group.rows, 1, group.queries, view), blocked)
        return _Look(group, view, bias, blocked, filled, None if filled is None else group.places())

    def _spread(self, bias: Tensor, blocked: bool) -> Tensor:
        """The queries of all heads that share a key head, one below the other: once for all key heads, or for each."""
        if blocked:
            packed = bias.repeat(1, 1, self._sharing, 1)
            return torch.nn.functional.pad(packed, (0, 0, 0, -packed.shape[2] % QUERY_ROWS))
        return bias.repeat(1, self._key_heads if len(bias) > 1 else 1, self._sharing, 1).flatten(0, 1)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[rows, heads, size] in, [rows, heads × size] out: the pass's tokens, then rows of no token, for which it
        gives zeros."""
        keys, values = self._cache.stored(layer)
        tokens = len(self._places) // self._key_heads
        for store, new in ((keys, key), (values, value)):
            store.view(-1, self._size).index_copy_(0, self._places, new[:tokens].reshape(-1, self._size))
        if len(self._looks) == 1 and tokens == len(query):
            return self._attend(self._looks[0], query, keys, values)
        out = torch.empty(len(query), self._heads * self._size, dtype=query.dtype)
        out[tokens:] = 0.0
        for look in self._looks:
            out[look.group.own] = self._attend(look, query[look.group.own], keys, values)
        return out

    def _attend(self, look: _Look, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        group = look.group
        if look.filled is not None:
            query = query[look.filled]
        slots = slice(group.slot, group.slot + group.rows)
        past, known = keys[slots, :, : look.view], values[slots, :, : look.view]
        shared = query.view(group.rows, group.queries, self._key_heads, self._sharing, self._size)
        shared = shared.permute(0, 2, 3, 1, 4).reshape(
            group.rows, self._key_heads, self._sharing * group.queries, self._size
        )
        out = (self._by_blocks if look.blocked else self._by_products)(shared, past, known, look.bias)
        out = out.view(group.rows, self._key_heads, self._sharing, group.queries, self._size)
        out = out.permute(0, 3, 1, 2, 4).reshape(group.rows * group.queries, -1)
        return out if look.places is None else out[look.places]

    def _by_products(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Over a copy of the keys that are seen: on a strided cache oneDNN takes four times as long."""
        rows, heads, queries, size = query.shape
        query = query.reshape(rows * heads, queries, size)
        seen = keys.contiguous().view(rows * heads, -1, size).transpose(1, 2)
        scores = torch.bmm(query, seen).mul_(self._scale).add_(bias)
        shares = torch.softmax(scores, -1)
        return torch.bmm(shares, values.flatten(0, 1)).view(rows, heads, queries, size)

    def _by_blocks(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        queries = query.shape[2]
        query = torch.nn.functional.pad(query, (0, 0, 0, bias.shape[2] - queries))
        out = torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=self._scale)
        return out[:, :, :queries]
