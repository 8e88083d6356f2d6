"""One request's answer as the gateway receives it: in order, each item once, whoever sent it how often.

The token log is written together with the reply stream, so within one history of Redis the items follow each other.
A Redis that lost its tail makes a worker send items again, or another worker make them anew: what was seen already is
compared, never delivered twice, and an answer that comes back different ends rather than continue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

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
        self._seen: list[_Seen] = []  # what a caller could notice of each delivered item
        self._sealed: list[tuple[int, str, bytes]] = []  # epoch, key id and ciphertext of each
        self._arrived: list[pb.StepDelta] = []
        self._tokens = 0  # of what has arrived and was not taken
        self._wanted = 1  # tokens for which the waiting one is woken
        self._changed = asyncio.Event()
        self._lost: ReplyLost | None = None
        self.complete = False  # the last item has arrived, or none can

    @property
    def items(self) -> int:
        """Items delivered so far."""
        return len(self._seen)

    def token_log(self) -> list[bytes]:
        """What a token log that holds these items looks like, byte for byte."""
        frames = []
        for n, (epoch, key_id, sealed) in enumerate(self._sealed):
            item = pb.StepItem(request_id=self.request_id, epoch=epoch, n=n, key_id=key_id, sealed=sealed)
            frames.append(pb.StepFrame(items=[item]).SerializeToString())
        return frames

    async def next(self, tokens: int = 1) -> list[pb.StepDelta]:
        """Everything that arrived since the last call: at least so many tokens, or what comes before the end; empty
        after the last. Safe to cancel: what has arrived stays for `taken` or the next call."""
        self._wanted = tokens
        while not (self.complete or (self._arrived and self._tokens >= tokens)):
            self._changed.clear()
            await self._changed.wait()
        if self._lost and not self._arrived:
            raise self._lost
        return self.taken()

    def taken(self) -> list[pb.StepDelta]:
        """Everything that arrived since the last call, if only nothing."""
        arrived, self._arrived, self._tokens = self._arrived, [], 0
        return arrived

    async def __aiter__(self) -> AsyncIterator[pb.StepDelta]:
        while deltas := await self.next():
            for delta in deltas:
                yield delta

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
        if item.n < self.items:
            self._repeated(item.n, delta)
        elif item.n > self.items:
            self._give_up("REPLY_GAP")
        else:
            self._deliver(item, delta)

    def _repeated(self, n: int, delta: pb.StepDelta) -> None:
        if self._seen[n] == _seen(delta):
            self.odd["REPEATED"] += 1
        elif delta.finish in _DECIDED and not delta.token_ids:
            self._end_with(delta)
        else:
            self._give_up("REPLY_DIVERGED")

    def _deliver(self, item: pb.StepItem, delta: pb.StepDelta) -> None:
        self._sealed.append((item.epoch, item.key_id, item.sealed))
        self._seen.append(_seen(delta))
        if delta.finish:
            self._end_with(delta)
            return
        self._arrived.append(delta)
        self._tokens += len(self._seen[-1].token_ids)
        if self._tokens >= self._wanted:
            self._changed.set()

    def _end_with(self, delta: pb.StepDelta) -> None:
        self._arrived.append(delta)
        self.complete = True
        self._changed.set()

    def _give_up(self, reason: str) -> None:
        self.odd[reason] += 1
        self._lost = ReplyLost(reason)
        self.complete = True
        self._changed.set()


class _Seen(NamedTuple):
    """Times and counts of prompt tokens may differ between claims; these may not."""

    token_ids: tuple[int, ...]
    text: str
    finish: int
    failure: str


def _seen(delta: pb.StepDelta) -> _Seen:
    return _Seen(tuple(delta.token_ids), delta.text, delta.finish, delta.failure)
