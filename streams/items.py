"""The sealed parts of an answer: step items, each sealed once for the gateway and for the log that outlives the worker.

A frame of one item is what travels and what is kept: frames put one behind the other are one frame of all their items,
and the list of a request's own frames is its token log.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from strongroom.inference.v1.inference_pb2 import StepDelta, StepFrame, StepItem

from streams.seal import STEP, BrokenSeal, Cipher, QueueKeys


class ItemSealer:
    """Seals the items of one claim of one request."""

    def __init__(self, queue_keys: QueueKeys, request_id: str, epoch: int) -> None:
        self._cipher = queue_keys.cipher(request_id, epoch, STEP)
        self._frame = StepFrame()
        self._item = self._frame.items.add(request_id=request_id, epoch=epoch, key_id=self._cipher.key_id)

    def seal(self, n: int, delta: StepDelta) -> bytes:
        """A frame of this item alone."""
        self._item.n, self._item.sealed = n, self._cipher.seal(n, delta.SerializeToString())
        return self._frame.SerializeToString()


class ItemOpener:
    """Opens the items of one request, whoever claimed it. Raises SealError for what is not its own."""

    def __init__(self, queue_keys: QueueKeys, request_id: str) -> None:
        self._keys, self._request_id = queue_keys, request_id
        self._ciphers: dict[tuple[str, int], Cipher] = {}

    def open(self, item: StepItem) -> StepDelta:
        named = (item.key_id, item.epoch)
        cipher = self._ciphers.get(named) or self._keys.cipher(self._request_id, item.epoch, STEP, under=item.key_id)
        try:
            delta = StepDelta.FromString(cipher.open(item.n, item.sealed))
        except DecodeError:
            raise BrokenSeal from None
        self._ciphers[named] = cipher  # only now: forged epochs must not fill memory
        return delta


def open_log(queue_keys: QueueKeys, request_id: str, frames: Sequence[bytes]) -> tuple[int, ...]:
    """The tokens of a token log. Raises SealError when one frame does not open in its place."""
    opener, token_ids = ItemOpener(queue_keys, request_id), list[int]()
    for n, frame in enumerate(frames):
        try:
            [item] = StepFrame.FromString(frame).items
        except (DecodeError, ValueError):
            raise BrokenSeal from None
        if item.n != n:
            raise BrokenSeal
        token_ids.extend(opener.open(item).token_ids)
    return tuple(token_ids)
