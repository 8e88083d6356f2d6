"""One request's answer as the gateway receives it: in order, everything once, whoever sent it how often.

The token log is written together with the reply stream, so within one history of Redis the items follow each other.
A Redis that lost its tail makes a worker send items again, or another worker make them anew, perhaps cut elsewhere:
what was seen already is compared, never delivered twice, and an answer that comes back different ends rather than
continue.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from strongroom.inference.v1 import inference_pb2 as pb

from streams.failures import ReplyLost
from streams.items import ItemOpener
from streams.seal import QueueKeys, SealError

# An end that no engine computed: a later claim may put it where an earlier one had put a token.
_DECIDED = (pb.FINISH_FAILED, pb.FINISH_CANCELLED, pb.FINISH_EXPIRED)


class Reply:
    """Deltas of one request. `feed` is called by the reader, the rest by whoever waits for the answer."""

    def __init__(self, queue_keys: QueueKeys, request_id: str) -> None:
        self.request_id = request_id
        self.odd: Counter[str] = Counter()  # items not delivered, by reason
        self._opener = ItemOpener(queue_keys, request_id)
        self._items: list[_Item] = []
        self._token_ids, self._text = list[int](), ""  # all that was delivered
        self.prompt_token_ids: Sequence[int] = ()  # as the first worker told
        self.made_by: list[pb.Provenance] = []  # in order; the same worker twice, or its like, is one
        self._arrived: list[pb.StepDelta] = []
        self._iterated: deque[pb.StepDelta] = deque()  # taken by an iteration, and not told yet
        self._changed = asyncio.Event()
        self._lost: ReplyLost | None = None
        self.complete = False  # the last item has arrived, or none can

    @property
    def items(self) -> int:
        """Number of the next item."""
        return len(self._items)

    @property
    def token_ids(self) -> Sequence[int]:
        """All that was delivered."""
        return self._token_ids

    def token_log(self) -> list[bytes]:
        """What a token log that holds these items looks like, byte for byte."""
        frames = []
        for n, kept in enumerate(self._items):
            item = pb.StepItem(
                request_id=self.request_id, epoch=kept.epoch, n=n, key_id=kept.key_id, sealed=kept.sealed
            )
            frames.append(pb.StepFrame(items=[item]).SerializeToString())
        return frames

    async def next(self) -> list[pb.StepDelta]:
        """Everything that arrived since the last call, once there is something; empty after the last. Safe to cancel:
        what has arrived stays for the next call."""
        while not (self.complete or self._arrived):
            self._changed.clear()
            await self._changed.wait()
        if self._lost and not self._arrived:
            raise self._lost
        arrived, self._arrived = self._arrived, []
        return arrived

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> pb.StepDelta:
        if not self._iterated:
            self._iterated += await self.next()
        if not self._iterated:
            raise StopAsyncIteration
        return self._iterated.popleft()

    def feed(self, item: pb.StepItem) -> None:
        """Takes an item of a step frame; what cannot be believed is counted and left out."""
        if self.complete:
            self.odd["AFTER_END"] += 1
            return
        try:
            delta = self._opener.open(item)
        except SealError as error:
            self.odd[error.reason] += 1
            return
        if item.n > self.items:
            self._give_up("REPLY_GAP")
        elif delta.finish in _DECIDED and not delta.token_ids:
            self._end_with(delta)
        else:
            self._deliver(item, delta)

    def _deliver(self, item: pb.StepItem, delta: pb.StepDelta) -> None:
        before = self._items[item.n - 1] if item.n else _NOTHING
        seen_ids, seen_text = self._token_ids[before.tokens :], self._text[before.characters :]
        if not (_agree(seen_ids, list(delta.token_ids), delta.finish) and _agree(seen_text, delta.text, delta.finish)):
            self._give_up("REPLY_DIVERGED")
            return
        self._keep(item, before.tokens + len(delta.token_ids), before.characters + len(delta.text))
        self._note_maker(delta)
        fresh_ids, fresh_text = delta.token_ids[len(seen_ids) :], delta.text[len(seen_text) :]
        if seen_ids or seen_text:
            self.odd["REPEATED"] += 1
            delta.token_ids[:] = fresh_ids
            delta.text = fresh_text
        self._token_ids += fresh_ids
        self._text += fresh_text
        if delta.finish:
            self._end_with(delta)
        elif fresh_ids or fresh_text:
            self._arrived.append(delta)
            self._changed.set()

    def _keep(self, item: pb.StepItem, tokens: int, characters: int) -> None:
        """One that a later claim cut elsewhere replaces what it repeats: so does the token log in Redis."""
        if item.n < self.items:
            known = self._items[item.n]
            if item.epoch <= known.epoch or (tokens, characters) == (known.tokens, known.characters):
                return
            del self._items[item.n :]
        self._items.append(_Item(item.epoch, item.key_id, item.sealed, tokens, characters))

    def _note_maker(self, delta: pb.StepDelta) -> None:
        if delta.HasField("provenance") and delta.provenance not in self.made_by:
            self.made_by.append(delta.provenance)
        if delta.prompt_token_ids and not self.prompt_token_ids:
            self.prompt_token_ids = delta.prompt_token_ids

    def _end_with(self, delta: pb.StepDelta) -> None:
        self._arrived.append(delta)
        self.complete = True
        self._changed.set()

    def _give_up(self, reason: str) -> None:
        self.odd[reason] += 1
        self._lost = ReplyLost(reason)
        self.complete = True
        self._changed.set()


class _Item(NamedTuple):
    """As it arrived, and what the answer had behind it."""

    epoch: int
    key_id: str
    sealed: bytes
    tokens: int
    characters: int


_NOTHING = _Item(0, "", b"", 0, 0)
T = TypeVar("T", str, list[int])


def _agree(seen: T, again: T, finish: int) -> bool:
    """Whether one begins the other. An answer does not end before what was seen of it."""
    return again[: len(seen)] == seen or (not finish and seen[: len(again)] == again)
