"""Keeps one process running: started, watched until it takes work, started again when it dies."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from chassis.start import EXIT_MISCONFIGURED
from stack import runfiles
from stack.process import Child, Plan, start
from stack.reporting import Say, last_words
from stack.restarts import Restarts
from stack.runfiles import RunFile

PROBE_PAUSE_SECONDS = 0.1
MAX_EARLY_DEATHS = 3  # before it was ever ready: then starting again helps nobody


class StartFailed(Exception):
    """A process does not come up. Names it, its reason and its log."""


class Supervised:
    """One process over all its lives. `ready` ends when the first life takes work, or raises StartFailed."""

    def __init__(
        self, plan: Plan, run_folder: Path, say: Say, restarts: Restarts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.plan = plan
        self._folder, self._say, self._restarts, self._clock = run_folder, say, restarts, clock
        self._child: Child | None = None
        self._run: RunFile | None = None
        self._stopping = asyncio.Event()
        self.ready: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # it may fail unawaited
        self.reason = "starting"

    @property
    def is_up(self) -> bool:
        return self.ready.done() and not self.reason

    async def run(self) -> None:
        """Returns when it was stopped, or can never run."""
        while not self._stopping.is_set():
            began = self._clock()
            self._child = child = await start(self.plan)
            if self._stopping.is_set():  # asked for while it was being started
                await child.stop(self.plan.grace_seconds)
                break
            self._note_start(child.pid)
            watch = asyncio.create_task(self._watch(began))
            code = await child.wait()
            watch.cancel()
            if self._stopping.is_set():
                break
            pause = self._restarts.pause_after(code, self._clock() - began)
            reason = f"{_ending(code)}: {last_words(self.plan.log, child.log_start)}".removesuffix(": ")
            if pause is None or (not self.ready.done() and self._restarts.count >= MAX_EARLY_DEATHS):
                self._give_up(reason)
                return
            await self._pause(pause, reason)

    async def stop(self) -> None:
        """Idempotent; `run` returns after it."""
        self._stopping.set()
        if self._child and not await self._child.stop(self.plan.grace_seconds):
            self._say(f"  {self.plan.name} did not stop in {self.plan.grace_seconds:.0f} s and was killed")
        runfiles.remove(self._folder, self.plan.name)

    def kill(self) -> None:
        self._stopping.set()
        if self._child:
            self._child.kill()

    async def _watch(self, began: float) -> None:
        while reason := await self.plan.probe():
            self.reason = reason
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
        took = self._clock() - began
        self._note(state="ready", reason="")
        if self.ready.done():
            self._say(f"✓ {self.plan.name} is ready again, {took:.1f} s after it was started")
        else:
            self.ready.set_result(took)

    async def _pause(self, seconds: float, reason: str) -> None:
        self._note(state="restarting", reason=reason, restarts=self._restarts.count)
        self._say(f"! {self.plan.name} {reason}; starting it again in {seconds:.1f} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _give_up(self, reason: str) -> None:
        self._note(state="misconfigured", reason=reason)
        if self.ready.done():
            self._say(f"! {self.plan.name} {reason}; it is not started again. Log: {self.plan.log}")
        else:
            self.ready.set_exception(StartFailed(f"{self.plan.name} {reason}\nlog: {self.plan.log}"))

    def _note_start(self, pid: int) -> None:
        self._run = RunFile(
            name=self.plan.name,
            pid=pid,
            started=runfiles.start_time(pid),
            since=datetime.now(UTC).isoformat(timespec="milliseconds"),
            restarts=self._restarts.count,
            address=self.plan.ports[0] if self.plan.ports else "",
            grpc=self.plan.grpc,
            http=self.plan.http,
            log=str(self.plan.log),
        )
        self._note(state="starting", reason="starting")

    def _note(self, *, state: str, reason: str, restarts: int | None = None) -> None:
        if self._run:
            restarts = self._run.restarts if restarts is None else restarts
            self._run = replace(self._run, state=state, reason=reason, restarts=restarts)
            runfiles.write(self._folder, self._run)
        self.reason = reason


def _ending(code: int) -> str:
    if code == EXIT_MISCONFIGURED:
        return "cannot start"
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"
