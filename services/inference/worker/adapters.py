"""The adapters of one worker: read off the event loop, put in place between steps, known to whoever claims jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chassis.failures import FailedPrecondition, NotFound, ResourceExhausted, ServiceError, Unimplemented
from services.inference.engine.adapters import (
    AdapterHost,
    AdapterInfo,
    AdapterNotServed,
    AdapterRefused,
    adapter_folder,
)
from services.inference.engine.protocol import Engine, EngineFull, EngineRefusal
from services.inference.worker.runs import Runs

TRY_SECONDS = 30.0  # for a slot to come free in which the probe prompt can run
RETRY_SECONDS = 0.1


class Adapters:
    """Owned by the event loop. What fails is a ServiceError that says what to change."""

    def __init__(self, engine: Engine, runs: Runs, home: Path) -> None:
        self._host = engine.adapters
        self._runs, self._home, self._name = runs, home, engine.name
        self._changing = asyncio.Lock()
        self.loaded: tuple[AdapterInfo, ...] = ()

    def serve(self, name: str, digest: bytes) -> bool:
        """Is this very adapter loaded? With no digest: one of this name."""
        return any(info.name == name and digest.hex() in ("", info.digest) for info in self.loaded)

    async def load(self, name: str, digest: bytes = b"") -> AdapterInfo:
        host = self._able()
        async with self._changing:
            try:
                read = await asyncio.to_thread(host.read, name, adapter_folder(self._home, name))
                if digest.hex() not in ("", read.info.digest):
                    found = read.info.digest
                    raise AdapterRefused(f"adapter {name} has digest {found}, which is not the one asked for", found)
                info = await self._put(host, read)
            except EngineRefusal as refusal:
                raise _failure(refusal) from None
            self.loaded = host.loaded
            return info

    async def unload(self, name: str) -> None:
        host = self._able()
        async with self._changing:
            try:
                await asyncio.wrap_future(self._runs.engine.call(lambda: host.unload(name)))
            except EngineRefusal as refusal:
                raise _failure(refusal) from None
            self.loaded = host.loaded

    def _able(self) -> AdapterHost:
        if self._host is None:
            raise Unimplemented(f"the engine {self._name} runs no adapters", field="name", reason="NO_ADAPTERS")
        return self._host

    async def _put(self, host: AdapterHost, read: object) -> AdapterInfo:
        patience = asyncio.get_running_loop().time() + TRY_SECONDS
        while True:
            try:
                return await asyncio.wrap_future(self._runs.engine.call(lambda: host.load(read)))
            except EngineFull:
                if asyncio.get_running_loop().time() > patience:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def _failure(refusal: EngineRefusal) -> ServiceError:
    kind: type[ServiceError] = FailedPrecondition
    if isinstance(refusal, EngineFull):
        return ResourceExhausted(
            "every slot is busy, so the adapter could not be tried: try again when there is less to do",
            reason=refusal.reason,
            retry_after_seconds=TRY_SECONDS,
        )
    if isinstance(refusal, AdapterNotServed):
        kind = NotFound
    return kind(str(refusal), field="name", reason=refusal.reason)
