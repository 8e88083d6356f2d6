"""The adapters of one worker: read off the event loop, put in place between steps, listed for its next process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from chassis.disk import explained
from chassis.failures import FailedPrecondition, NotFound, ResourceExhausted, ServiceError, Unimplemented
from chassis.identity import Principal
from services.inference.engine.adapters import (
    AdapterHost,
    AdapterInfo,
    AdapterInUse,
    AdapterNotServed,
    AdapterRefused,
    adapter_folder,
)
from services.inference.engine.protocol import Engine, EngineFull, EngineRefusal
from services.inference.worker.adapter_list import AdapterList, ListDamaged, Listed
from services.inference.worker.runs import Runs

log = logging.getLogger(__name__)

TRY_SECONDS = 30.0  # for a slot to come free in which the probe prompt can run
RETRY_SECONDS = 0.1
LOADED, UNLOADED = "ADAPTER_LOADED", "ADAPTER_UNLOADED"
UNFINISHED = "it was being unloaded when the worker ended or could not write its list: load it, or unload it again"

T = TypeVar("T")


class Acts(Protocol):
    """Where it is recorded what a person did."""

    async def record(self, action: str, target: str, detail: Mapping[str, str]) -> None:
        """Durable when it returns. Raises ServiceError."""


class Adapters:
    """Owned by the event loop. What fails is a ServiceError that says what to change, and has changed nothing.

    A job may name what is in `loaded`. Before that changes, the act is in the audit log. What was told to be loaded is
    on the list on disk, and loaded again by this seat's next process; what was told to be unloaded, or may have been
    recorded as that, is not. A start repeats what was recorded before, and is no act.
    """

    def __init__(self, engine: Engine, runs: Runs, home: Path, seat: str, acts: Acts | None) -> None:
        """`acts` is None in tests of other things, and where the engine runs no adapters."""
        self._host, self._model = engine.adapters, engine.model.name
        self._runs, self._home, self._name = runs, home, engine.name
        self._list, self._seat, self._acts = AdapterList(home, seat), seat, acts
        self._changing = asyncio.Lock()
        self._changes = set[asyncio.Task[Any]]()
        self._leaving = ""
        self.loaded: tuple[AdapterInfo, ...] = ()
        self.left_out: dict[Listed, str] = {}  # listed and not served, and why; until it is loaded or unloaded

    def serve(self, name: str, digest: bytes) -> bool:
        """Is this very adapter loaded? With no digest: one of this name."""
        return any(info.name == name and digest.hex() in ("", info.digest) for info in self.loaded)

    def undecided(self, name: str) -> bool:
        """Is it being unloaded? Until that is recorded or refused, no job that names it is begun."""
        return bool(name) and name == self._leaving

    async def restore(self) -> None:
        """Before any job is claimed: what the seat's last process served. What fails its check is left out."""
        if self._host is None:
            return
        try:
            listed = await asyncio.to_thread(self._list.read)
        except ListDamaged:
            log.error("%s cannot be read, so no adapter is loaded again: load them anew", self._list.path)
            return
        for one in listed:
            if why := await self._why_not(self._host, one):
                self.left_out[one] = why
                log.error("adapter %s is left out: %s", one.name, why)
        self.loaded = self._host.loaded

    async def _why_not(self, host: AdapterHost, listed: Listed) -> str:
        """Loads it; empty when it is."""
        if listed.leaving:
            return UNFINISHED
        if listed.model != self._model:
            return f"it was loaded into {listed.model}, and this worker serves {self._model}"
        try:
            await self._put(host, await self._read(host, listed.name, listed.digest))
        except EngineRefusal as refusal:
            return str(refusal)
        except Exception as error:  # whatever it is, the worker starts
            return f"it could not be loaded ({type(error).__name__})"
        return ""

    async def load(self, name: str, digest: bytes, by: Principal) -> AdapterInfo:
        return await self._undivided(self._load(self._able(), name, digest.hex(), by))

    async def unload(self, name: str, by: Principal) -> None:
        """Also one that was left out."""
        await self._undivided(self._unload(self._able(), name, by))

    async def _undivided(self, change: Coroutine[Any, Any, T]) -> T:
        """One at a time, each to its end: a caller who leaves in the middle leaves nothing half done."""

        async def alone() -> T:
            async with self._changing:
                try:
                    return await change
                except EngineRefusal as refusal:
                    raise _failure(refusal) from None

        self._changes.add(task := asyncio.create_task(alone()))
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _load(self, host: AdapterHost, name: str, digest: str, by: Principal) -> AdapterInfo:
        info = await self._put(host, await self._read(host, name, digest))
        others = {one: why for one, why in self.left_out.items() if one.name != name}
        new = self._listed(info)
        try:
            await self._settle(new, by, [*map(self._listed, self.loaded), new, *others])
        except ServiceError:
            await self._between_steps(lambda: host.unload(name))
            raise
        self.loaded, self.left_out = host.loaded, others
        return info

    async def _unload(self, host: AdapterHost, name: str, by: Principal) -> None:
        known = [*map(self._listed, self.loaded), *self.left_out]
        old = next((one for one in known if one.name == name), None)
        if old is None:
            raise AdapterNotServed(name)
        if users := sum(run.job.body.adapter == name and not run.ended for run in self._runs):
            raise AdapterInUse(name, users)
        self._leaving = name  # nothing awaited since its users were counted: from here on it has none
        try:
            await self._take_off(host, old, by, known)
        finally:
            self._leaving = ""

    async def _take_off(self, host: AdapterHost, old: Listed, by: Principal, known: Sequence[Listed]) -> None:
        """Marked on disk before it is recorded: a process that ends in between leaves no successor that serves what
        the log says is unloaded."""
        kept, marked = [one for one in known if one != old], replace(old, leaving=True)
        await self._write([*kept, marked])
        try:
            await self._record(UNLOADED, old, by)
        except ServiceError:
            await self._write(known)
            raise
        others = {one: why for one, why in self.left_out.items() if one != old}
        if old not in self.left_out:
            await self._between_steps(lambda: host.unload(old.name))
        self.loaded, self.left_out = host.loaded, {**others, marked: UNFINISHED}
        await self._write(kept)
        self.left_out = others

    async def _settle(self, one: Listed, by: Principal, listed: Sequence[Listed]) -> None:
        """Recorded between staging and committing the list: what cannot be written is not recorded, and what was not
        recorded is not on the list."""
        with self._explained():
            await asyncio.to_thread(self._list.stage, listed)
            await self._record(LOADED, one, by)
            await asyncio.to_thread(self._list.commit)

    async def _write(self, listed: Sequence[Listed]) -> None:
        with self._explained():
            await asyncio.to_thread(self._list.stage, listed)
            await asyncio.to_thread(self._list.commit)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FailedPrecondition(explained(error, self._list.path), reason="ADAPTER_LIST_NOT_WRITTEN") from None

    async def _record(self, action: str, one: Listed, by: Principal) -> None:
        detail = {"by": by.name, "tenant": by.tenant, "worker": self._seat, "digest": one.digest, "model": one.model}
        if self._acts is not None:
            await self._acts.record(action, one.name, detail)

    def _listed(self, info: AdapterInfo) -> Listed:
        return Listed(info.name, info.digest, self._model)

    def _able(self) -> AdapterHost:
        if self._host is None:
            raise Unimplemented(f"the engine {self._name} runs no adapters", field="name", reason="NO_ADAPTERS")
        return self._host

    async def _read(self, host: AdapterHost, name: str, digest: str) -> Any:
        """With a digest: that one or none."""
        read = await asyncio.to_thread(host.read, name, adapter_folder(self._home, name))
        found = read.info.digest
        if digest not in ("", found):
            raise AdapterRefused(f"adapter {name} has digest {found}, which is not the one asked for", found)
        return read

    async def _put(self, host: AdapterHost, read: object) -> AdapterInfo:
        patience = asyncio.get_running_loop().time() + TRY_SECONDS
        while True:
            try:
                return await self._between_steps(lambda: host.load(read))
            except EngineFull:
                if asyncio.get_running_loop().time() > patience:
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _between_steps(self, action: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._runs.engine.call(action))


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
