"""The sealed parts of an answer: the step item that goes to the gateway, and the token run that outlives the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from strongroom.inference.v1.inference_pb2 import StepDelta, StepFrame, StepItem, TokenRun

from streams.seal import STEP, TOKENS, BrokenSeal, Cipher, QueueKeys

_EPOCH_BYTES, _KEY_ID_BYTES = 8, 8  # in clear before each sealed run; its n is its position in the log


@dataclass(frozen=True, slots=True)
class Item:
    """One item in both its forms. It is sealed once and kept until the request ends, in case Redis loses its tail."""

    frame: bytes  # a StepFrame of this one item
    run: bytes


class ItemSealer:
    """Seals the items of one claim of one request."""

    def __init__(self, queue_keys: QueueKeys, request_id: str, epoch: int) -> None:
        self._request_id, self._epoch = request_id, epoch
        self._step = queue_keys.cipher(request_id, epoch, STEP)
        self._tokens = queue_keys.cipher(request_id, epoch, TOKENS)

    def seal(self, n: int, delta: StepDelta) -> Item:
        item = StepItem(
            request_id=self._request_id,
            epoch=self._epoch,
            n=n,
            key_id=self._step.key_id,
            sealed=self._step.seal(n, delta.SerializeToString()),
        )
        return Item(
            StepFrame(items=[item]).SerializeToString(), seal_run(self._tokens, self._epoch, n, delta.token_ids)
        )


def seal_run(cipher: Cipher, epoch: int, n: int, token_ids: Sequence[int]) -> bytes:
    """The same bytes from the worker and from a gateway that puts back what it saw."""
    run = TokenRun(n=n, token_ids=token_ids).SerializeToString(deterministic=True)
    return epoch.to_bytes(_EPOCH_BYTES, "big") + cipher.key_id.encode() + cipher.seal(n, run)


def open_runs(queue_keys: QueueKeys, request_id: str, runs: Sequence[bytes]) -> tuple[int, ...]:
    """The tokens of a token log. Raises SealError when one run does not open in its place."""
    ciphers: dict[bytes, Cipher] = {}
    token_ids: list[int] = []
    for n, run in enumerate(runs):
        clear, sealed = run[: _EPOCH_BYTES + _KEY_ID_BYTES], run[_EPOCH_BYTES + _KEY_ID_BYTES :]
        if clear not in ciphers:
            ciphers[clear] = _run_cipher(queue_keys, request_id, clear)
        try:
            token_ids.extend(TokenRun.FromString(ciphers[clear].open(n, sealed)).token_ids)
        except DecodeError:
            raise BrokenSeal from None
    return tuple(token_ids)


def _run_cipher(queue_keys: QueueKeys, request_id: str, clear: bytes) -> Cipher:
    key_id = clear[_EPOCH_BYTES:].decode("ascii", "replace")
    return queue_keys.cipher(request_id, int.from_bytes(clear[:_EPOCH_BYTES], "big"), TOKENS, under=key_id)
