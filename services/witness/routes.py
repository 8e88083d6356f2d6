"""The witness over HTTP: add-checkpoint, and for whoever monitors a log, what was cosigned last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from services.witness.memory import Memory
from services.witness.metrics import WitnessMetrics
from services.witness.submission import MAX_BODY_BYTES
from services.witness.witness import CONFLICT, INCONSISTENT, Refused, Witness

BODY_SECONDS = 10.0
TOO_LARGE, TOO_SLOW = 413, 408

log = logging.getLogger(__name__)


def routes(witness: Witness, memory: Memory, metrics: WitnessMetrics) -> Sequence[BaseRoute]:
    async def add_checkpoint(request: Request) -> Response:
        try:
            cosignature = await asyncio.to_thread(witness.add_checkpoint, await _body(request))
        except Refused as refused:
            metrics.answered(refused.status)
            return _refusal(refused)
        metrics.answered(200)
        return PlainTextResponse(cosignature)

    async def newest(request: Request) -> Response:
        note = await asyncio.to_thread(memory.note, request.path_params["origin_hash"])
        if note is None:
            return PlainTextResponse("no checkpoint of such a log was cosigned\n", status_code=404)
        return PlainTextResponse(note, headers={"cache-control": "no-store"})

    return [
        Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
        Route("/{origin_hash}/checkpoint", newest, methods=["GET"]),
    ]


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise Refused(TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
    except (TimeoutError, ClientDisconnect):
        raise Refused(TOO_SLOW, f"the body did not come within {BODY_SECONDS:g} s") from None
    return bytes(body)


def _refusal(refused: Refused) -> Response:
    if refused.status == CONFLICT:
        return PlainTextResponse(f"{refused.size}\n", status_code=CONFLICT, media_type="text/x.tlog.size")
    if refused.status == INCONSISTENT:
        log.error("a log signed a checkpoint that does not continue what it signed before; it is kept, not cosigned")
    return PlainTextResponse(f"{refused}\n", status_code=refused.status)
