"""A copy of the log as messages, one at a time: at most one is in memory, however large the log is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from strongroom.audit.v1 import audit_pb2 as pb

from services.audit.backup import PIECE_BYTES, LogCopy

_PIECE_OVERHEAD = 128  # path, hash and lengths, about


async def streamed(copy: LogCopy) -> AsyncIterator[pb.BackUpResponse]:
    """Read by a thread, so that the loop, on which entries are committed, waits for no disk."""
    coming = messages(copy)
    while (message := await asyncio.to_thread(next, coming, None)) is not None:
        yield message


def messages(copy: LogCopy) -> Iterator[pb.BackUpResponse]:
    message = pb.BackUpResponse()
    message.start.checkpoint, message.start.verifier_key = copy.signed.note, copy.vkey
    message.start.files, message.start.size = copy.extent()
    files = size = filled = 0
    for piece in copy.pieces():
        if filled and filled + len(piece.content) > PIECE_BYTES:
            yield message
            message, filled = pb.BackUpResponse(), 0
        message.pieces.add(path=piece.path, content=piece.content, sha256=piece.sha256)
        filled += len(piece.content) + _PIECE_OVERHEAD
        files, size = files + bool(piece.sha256), size + len(piece.content)
    message.end.files, message.end.size = files, size
    yield message
