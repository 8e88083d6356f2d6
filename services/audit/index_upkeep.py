"""Rebuilding and checking the index, told over gRPC while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from strongroom.audit.v1 import audit_pb2 as pb

from chassis.failures import Unavailable
from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.process import IndexAway
from services.audit.looking import Index, away

_LOOK_SECONDS = 1.0
RETRY_SECONDS = 60.0


async def rebuilding(index: Index) -> AsyncIterator[pb.RebuildIndexResponse]:
    rebuild = index.rebuild()
    while not rebuild.finished:
        yield pb.RebuildIndexResponse(done=rebuild.done, total=rebuild.total)
        await asyncio.to_thread(rebuild.wait, _LOOK_SECONDS)
    if rebuild.failed:
        raise Unavailable(
            "the index could not be made again and the old one stays: audit's log says why",
            reason="INDEX_NOT_REBUILT",
            retry_after_seconds=RETRY_SECONDS,
        )
    yield pb.RebuildIndexResponse(done=rebuild.done, total=rebuild.total, finished=True)


async def checking(index: Index) -> AsyncIterator[pb.CheckIndexResponse]:
    coming = index.check()
    try:
        while (check := await asyncio.to_thread(next, coming, None)) is not None:
            last = check
            yield pb.CheckIndexResponse(done=check.done, total=check.total, records=check.records)
    except IndexAway:
        raise away() from None
    except (IndexDamaged, TooSlow):
        raise Unavailable(
            "a page of the index does not open, or it is too slow to be checked now: `strongroom audit index rebuild` "
            "makes it again",
            reason="INDEX_DAMAGED",
            retry_after_seconds=RETRY_SECONDS,
        ) from None
    yield pb.CheckIndexResponse(
        done=last.done,
        total=last.total,
        finished=True,
        records=last.records,
        problems=last.problems,
        more_problems=last.more_problems,
    )
