"""Attention of a flat pass over the slot cache: each newest token over its own past, each chunk over its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.inference.engine.batch import Segment
from services.inference.engine.torch_attention import QUERY_ROWS, VIEW_TOKENS
from services.inference.engine.torch_slots import SlotCache
from services.inference.engine.torch_spans import Group, Spans, by_length, neighbouring

# Measured in bfloat16: up to so many query rows and heads torch's kernel takes less than products and a copy of what is
# seen; a long chunk's earlier queries see so much less that pieces pay.
_BLOCKED_ROWS = 18
_CHUNK_QUERIES = 128


@dataclass(frozen=True, slots=True)
class _Look:
    """A group with what all layers need for it."""

    slots: slice
    queries: int  # of each slot
    own: slice | Tensor  # its rows of the pass
    view: int
    bias: Tensor
    seen: Tensor | None  # rows of [slots × key heads] to look over; None: by torch's blocked kernel, in their place
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

    def look(self, segments: Sequence[Segment], spans: Spans, positions: Tensor) -> None:
        slots = torch.tensor(spans.slots)
        self._places = (self._rows_of(slots) * self._context + positions.repeat_interleave(self._key_heads)).flatten()
        if self._exact:
            groups = neighbouring(segments)
        else:
            groups = [part for group in by_length(segments, self._view_tokens) for part in group.parts(_CHUNK_QUERIES)]
        self._looks = [self._look(group, positions) for group in groups]

    def _rows_of(self, slots: Tensor) -> Tensor:
        """Of [slots × key heads]."""
        return (slots[:, None] * self._key_heads + torch.arange(self._key_heads)).flatten()

    def _look(self, group: Group, positions: Tensor) -> _Look:
        view = min(-(-group.end // self._view_tokens) * self._view_tokens, self._context)
        filled, own, rows = group.filled(), group.own, len(group.slots)
        hidden = self._tokens[:view] > (positions[own] if filled is None else positions[own][filled])[:, None]
        bias = torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, float("-inf"))
        few = rows * group.queries * self._heads <= _BLOCKED_ROWS and group.neighbours
        blocked = self._exact or few
        return _Look(
            slots=slice(group.slots[0], group.slots[0] + rows),
            queries=group.queries,
            own=own,
            view=view,
            bias=self._spread(bias.view(rows, 1, group.queries, view), blocked),
            seen=None if blocked else self._rows_of(torch.tensor(group.slots)),
            filled=filled,
            places=None if filled is None else group.places(),
        )

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
            out[look.own] = self._attend(look, query[look.own], keys, values)
        return out

    def _attend(self, look: _Look, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if look.filled is not None:
            query = query[look.filled]
        shared = query.view(-1, look.queries, self._key_heads, self._sharing, self._size).permute(0, 2, 3, 1, 4)
        shared = shared.reshape(-1, self._key_heads, self._sharing * look.queries, self._size)
        if look.seen is None:
            out = self._by_blocks(shared, keys[look.slots, :, : look.view], values[look.slots, :, : look.view], look)
        else:
            past, known = (self._copied(store, look.seen, look.view) for store in (keys, values))
            out = self._by_products(shared.flatten(0, 1), past, known, look.bias)
        out = out.view(-1, self._key_heads, self._sharing, look.queries, self._size)
        out = out.permute(0, 3, 1, 2, 4).reshape(-1, self._heads * self._size)
        return out if look.places is None else out[look.places]

    def _copied(self, store: Tensor, rows: Tensor, view: int) -> Tensor:
        """[rows, view, size]. On the strided cache itself oneDNN takes four times as long."""
        whole = store.view(-1, self._context * self._size)
        return whole[:, : view * self._size].index_select(0, rows).view(-1, view, self._size)

    def _by_products(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        scores = torch.bmm(query, keys.transpose(1, 2)).mul_(self._scale).add_(bias)
        return torch.bmm(torch.softmax(scores, -1), values)

    def _by_blocks(self, query: Tensor, keys: Tensor, values: Tensor, look: _Look) -> Tensor:
        queries = query.shape[2]
        query = torch.nn.functional.pad(query, (0, 0, 0, look.bias.shape[2] - queries))
        out = torch.nn.functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=look.bias, scale=self._scale
        )
        return out[:, :, :queries]
