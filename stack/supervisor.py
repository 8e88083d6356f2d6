"""Starts the whole stack, keeps it up and takes it down in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from stack.plan import stop_groups
from stack.process import Plan
from stack.reporting import Say
from stack.restarts import Backoff, Restarts
from stack.supervised import StartFailed, Supervised

STILL_WAITING_SECONDS = 5.0


class Supervisor:
    """The processes of one home. Owned by one event loop."""

    def __init__(self, run_folder: Path, say: Say, backoff: Backoff | None = None) -> None:
        self._folder, self._say, self._backoff = run_folder, say, backoff or Backoff()
        self._processes: dict[str, Supervised] = {}
        self._lives: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Whatever was started is stopped when the context closes, in order."""
        try:
            yield
        finally:
            await self.stop()

    async def bring_up(self, plans: Iterable[Plan], seconds: float) -> None:
        """Starts all at once and returns when all are ready. Raises StartFailed for the first that cannot be."""
        bringing = [asyncio.create_task(self._bring_up(plan, seconds)) for plan in plans]
        waiting = asyncio.create_task(self._say_who_is_awaited())
        try:
            await asyncio.gather(*bringing)
        finally:
            for task in (waiting, *bringing):
                task.cancel()

    async def stop(self) -> None:
        """Group by group; a group's processes together."""
        for group in stop_groups(self._processes):
            await asyncio.gather(*(self._processes[name].stop() for name in group))
        await asyncio.gather(*self._lives)

    def kill(self) -> None:
        """For whoever asks twice. Audit's journal and Redis' file are made for it."""
        for process in self._processes.values():
            process.kill()

    async def _bring_up(self, plan: Plan, seconds: float) -> None:
        process = Supervised(plan, self._folder, self._say, Restarts(self._backoff))
        self._processes[plan.name] = process
        self._lives.append(asyncio.create_task(process.run()))
        try:
            took = await asyncio.wait_for(asyncio.shield(process.ready), seconds)
        except TimeoutError:
            raise StartFailed(
                f"{plan.name} is not ready after {seconds:.0f} s: {process.reason}\nlog: {plan.log}"
            ) from None
        self._say(f"✓ {plan.name} {took:.1f} s")

    async def _say_who_is_awaited(self) -> None:
        while True:
            await asyncio.sleep(STILL_WAITING_SECONDS)
            awaited = [f"{name} ({process.reason})" for name, process in self._processes.items() if not process.is_up]
            if awaited:
                self._say(f"  waiting for {', '.join(awaited)}")
