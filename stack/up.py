"""One run of the stack, from an empty home to a stack that answers, and down again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from chassis.compiled import why_interpreted
from chassis.start import CannotStart
from services import COMPILED, ROOT
from stack import runfiles
from stack.interpreter import start_seconds
from stack.keys import make_development_keys
from stack.model import is_needed, prepare_model, until_served
from stack.options import Stack
from stack.plan import plans, service_of
from stack.ports import taken_ports
from stack.process import Plan
from stack.redis_server import check_external
from stack.reporting import Say
from stack.runfiles import HomeTaken
from stack.supervised import StartFailed
from stack.supervisor import Supervisor

FAILED, ALREADY_UP = 1, 3
LEFT_OVER_SECONDS = 10.0  # the kernel ends the processes of a supervisor that was killed; they stop in good order

WhenReady = Callable[[list[Plan]], Awaitable[None]]


async def run_stack(stack: Stack, say: Say, when_ready: WhenReady) -> int:
    """Runs until a signal; returns the exit code after everything has stopped. `when_ready` is given what runs."""
    try:
        with runfiles.holding(stack.run_folder):
            return await _Run(stack, say).until_signalled(when_ready)
    except HomeTaken:
        holder = runfiles.read(stack.run_folder, runfiles.SUPERVISOR)
        who = f" (pid {holder.pid}, since {holder.since})" if holder else ""
        say(f"the stack in {stack.home} is up already{who}: see `strongroom status`, end it with `strongroom down`")
        return ALREADY_UP


class _Run:
    """The holder of a home."""

    def __init__(self, stack: Stack, say: Say) -> None:
        self._stack, self._say = stack, say
        self._supervisor = Supervisor(stack.run_folder, say)
        self._stopping = asyncio.Event()
        self._run_file = runfiles.own_run_file(datetime.now(UTC).isoformat(timespec="milliseconds"))

    async def until_signalled(self, when_ready: WhenReady) -> int:
        self._listen_to_signals()
        runfiles.write(self._stack.run_folder, self._run_file)
        code = 0
        try:
            async with self._supervisor.running():
                code = await self._up(when_ready)
                self._say("stopping")
        finally:
            runfiles.remove(self._stack.run_folder, runfiles.SUPERVISOR)
        self._say("stopped")
        return code

    async def _up(self, when_ready: WhenReady) -> int:
        began = time.monotonic()
        try:
            planned = await self._unless_stopped(self._bring_up())
            if planned is None:
                return 0
            self._say(f"ready after {time.monotonic() - began:.1f} s")
            if why := why_interpreted(COMPILED, ROOT):
                self._say(f"  the services run interpreted: {why}")
            runfiles.write(self._stack.run_folder, replace(self._run_file, state="ready"))
            await self._unless_stopped(_called(when_ready, planned))
        except (StartFailed, CannotStart) as failure:
            self._say(f"✗ {failure}")
            return FAILED
        await self._stopping.wait()
        return 0

    async def _bring_up(self) -> list[Plan]:
        stack = self._stack
        if make_development_keys(stack.options.keys_folder):
            self._say(f"✓ development keys in {stack.options.keys_folder}")
        if stack.options.redis_url:
            await asyncio.to_thread(check_external, stack.options.redis_url)
        planned = plans(stack)
        await self._require_ports(planned)
        workers = [plan for plan in planned if service_of(plan.name) == "inference"]
        others = [plan for plan in planned if plan not in workers]
        seconds = stack.options.start_seconds
        await _all_or_first_failure(
            self._supervisor.bring_up(others, seconds), self._bring_up_workers(workers, start_seconds(stack))
        )
        await until_served(stack)
        return planned

    async def _bring_up_workers(self, workers: list[Plan], seconds: float) -> None:
        if is_needed(self._stack):
            await prepare_model(self._stack, self._say)
        await self._supervisor.bring_up(workers, seconds)

    async def _require_ports(self, planned: list[Plan]) -> None:
        """Waits for what an earlier run left behind, then wants every port free."""
        patience = time.monotonic() + LEFT_OVER_SECONDS
        left_over = runfiles.read_all(self._stack.run_folder)
        while any(run.process() for run in left_over) and time.monotonic() < patience:
            await asyncio.sleep(0.1)
        if taken := taken_ports(planned, left_over):
            raise CannotStart("\n".join(taken))
        for run in left_over:
            runfiles.remove(self._stack.run_folder, run.name)

    async def _unless_stopped(self, work: Coroutine[None, None, list[Plan] | None]) -> list[Plan] | None:
        """The result of the work, or None when a signal came first."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return None
        return task.result()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # asked twice
            self._supervisor.kill()
        self._stopping.set()


async def _called(when_ready: WhenReady, planned: list[Plan]) -> None:
    await when_ready(planned)


async def _all_or_first_failure(*works: Coroutine[None, None, None]) -> None:
    """Unlike gather alone: what still runs is cancelled before the failure goes on."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
