"""What gateways ask to stop, as every worker hears it; work not claimed yet finds a tombstone instead."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from strongroom.inference.v1.inference_pb2 import Cancel

from streams import keys
from streams.connection import BLOCK_MS, blocking_client

CANCELS_A_READ = 256


class CancelReader:
    """Reads on from where it stands. A cancel from before `open` is found as a tombstone when its job is claimed."""

    def __init__(self, url: str) -> None:
        self._redis = blocking_client(url)
        self._last_entry = ""

    async def open(self) -> None:
        """Finds the end of the stream; later calls keep the place."""
        if self._last_entry:
            return
        newest = await self._redis.xrevrange(keys.CANCELS, count=1)
        self._last_entry = newest[0][0].decode() if newest else "0-0"

    async def wait(self) -> list[str]:
        """Requests to stop; empty when none came within BLOCK_MS. Never cancel it inside a read."""
        streams = await self._redis.xread({keys.CANCELS: self._last_entry}, count=CANCELS_A_READ, block=BLOCK_MS)
        requests: list[str] = []
        for entry_id, fields in streams[0][1] if streams else ():
            self._last_entry = entry_id.decode()
            try:
                requests.append(Cancel.FromString(fields.get(keys.CANCEL_FIELD, b"")).request_id)
            except DecodeError:
                continue
        return requests

    async def aclose(self) -> None:
        await self._redis.aclose()
