"""Witnesses over HTTP: bounded in time and bytes; follows nobody elsewhere, and takes no proxy from the environment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256

import httpx

from services.audit.witnesses.asking import NoReply, Reply
from services.audit.witnesses.policy import WitnessPolicy

ANSWER_SECONDS = 5.0
MAX_REPLY_BYTES = 64 * 1024

log = logging.getLogger(__name__)


class WitnessHttp:
    """Keeps a connection to each witness."""

    def __init__(self, client: httpx.AsyncClient, seconds: float) -> None:
        self._client, self._seconds = client, seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, seconds: float = ANSWER_SECONDS) -> AsyncIterator[WitnessHttp]:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=120)
        async with httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False, timeout=None) as client:
            yield cls(client, seconds)

    async def post(self, url: str, body: bytes) -> Reply:
        return await self._send("POST", url, body)

    async def newest(self, policy: WitnessPolicy, origin: str) -> Mapping[str, str]:
        """The newest checkpoint that each witness has seen of this log; of those that answer and know one."""
        path = f"{sha256(origin.encode()).hexdigest()}/checkpoint"
        witnesses = list(policy.witnesses.values())
        replies = await asyncio.gather(*(self._newest(each.name, f"{each.url}/{path}") for each in witnesses))
        return {each.name: note for each, note in zip(witnesses, replies) if note}

    async def _newest(self, name: str, url: str) -> str:
        try:
            reply = await self._send("GET", url, b"")
            return reply.body.decode() if reply.status == 200 else ""
        except (NoReply, UnicodeDecodeError):
            log.warning("witness %s does not say what it saw of this log; audit starts without", name)
            return ""

    async def _send(self, method: str, url: str, body: bytes) -> Reply:
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, url, content=body) as response,
            ):
                taken = bytearray()
                async for piece in response.aiter_raw():
                    taken += piece
                    if len(taken) > MAX_REPLY_BYTES:
                        raise NoReply
                media_type = response.headers.get("content-type", "").partition(";")[0].strip()
                return Reply(response.status_code, media_type, bytes(taken))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            raise NoReply from None
