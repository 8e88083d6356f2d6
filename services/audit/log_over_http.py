"""The log over HTTP, read-only, as C2SP's tlog-tiles lays it out: for whoever verifies it without a key."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chassis.connections import refusal

# Levels 0 to 63, widths of partial tiles 1 to 255, an index in groups of three digits; nothing else is looked for.
_TILE = re.compile(
    r"tile/(?:entries|[0-9]|[1-5][0-9]|6[0-3])/(?:x[0-9]{3}/)*[0-9]{3}"
    r"(?:\.p/(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
)
_NOTES = frozenset({"checkpoint", "checkpoint.cosigned", "log.vkey"})  # the second only where witnesses cosign
_TEXT, _BYTES = "text/plain; charset=utf-8", "application/octet-stream"
_FOREVER = "public, max-age=31536000, immutable"  # a tile never changes


def log_routes(tlog: Path) -> list[Route]:
    """Below /tlog/. Tiles are on the disk before the checkpoint that needs them is."""

    async def serve(request: Request) -> Response:
        path = request.path_params["path"]
        if path not in _NOTES and not _TILE.fullmatch(path):
            return _absent()
        try:
            content = await asyncio.to_thread((tlog / path).read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return _absent()
        kind, kept = (_TEXT, "no-cache") if path in _NOTES else (_BYTES, _FOREVER)
        return Response(content, headers={"content-type": kind, "cache-control": kept})

    return [Route("/tlog/{path:path}", serve)]


def _absent() -> Response:
    return JSONResponse(refusal("the log has no such file", "NOT_IN_THE_LOG"), status_code=404)
