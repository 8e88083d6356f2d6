"""One child process: tied to the supervisor's life, in a session of its own, its output in its log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stack.probes import Probe

TETHER = Path(__file__).with_name("tether.py")
GRACE_SECONDS = 8.0
MAX_LOG_BYTES = 16 * 1024 * 1024  # then the log starts anew, and one older file is kept


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and how to know that it takes work."""

    name: str
    command: tuple[str, ...]  # command[0] is an absolute path
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    probe: Probe = field(repr=False)
    grpc: str = ""
    http: str = ""
    ports: tuple[str, ...] = ()  # host:port that must be free before it starts
    grace_seconds: float = GRACE_SECONDS  # after SIGTERM; then SIGKILL


class Child:
    """A started process."""

    def __init__(self, process: asyncio.subprocess.Process, log_start: int) -> None:
        self._process = process
        self.pid = process.pid
        self.log_start = log_start  # where in the log this life began

    async def wait(self) -> int:
        """The exit code; a negative one is the number of the signal that ended it."""
        return await self._process.wait()

    async def stop(self, grace_seconds: float) -> bool:
        """SIGTERM, then SIGKILL; false if it took the latter."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


async def start(plan: Plan) -> Child:
    """In a session of its own, so that Ctrl-C reaches the supervisor alone and the order of the stop is ours."""
    plan.log.parent.mkdir(parents=True, exist_ok=True)
    if plan.log.exists() and plan.log.stat().st_size > MAX_LOG_BYTES:
        plan.log.replace(plan.log.with_suffix(".log.1"))
    with plan.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-IS", str(TETHER), str(os.getpid()), *plan.command,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=plan.environment, start_new_session=True,
        )  # fmt: skip
        return Child(process, log.tell())
