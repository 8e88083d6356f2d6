"""Puts a new policy file into force at SIGHUP. A bad one changes nothing but what is said about it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chassis.server import NOT_SERVING, SERVING, Health
from services.guard.policy.loading import InvalidPolicy, load_bundle
from services.guard.policy.shelf import PolicyShelf

log = logging.getLogger(__name__)

POLICY_HEALTH = "policy"  # the health service's name for it: NOT_SERVING while the file on disk is not what judges


class PolicyFile:
    """The file that is read again, and what was wrong with it the last time."""

    def __init__(self, path: Path, shelf: PolicyShelf, health: Health) -> None:
        self._path, self._shelf, self._health = path, shelf, health
        self.problems: tuple[str, ...] = ()
        self.reloads: Counter[str] = Counter()  # by outcome: taken, refused

    async def reload(self) -> None:
        """The last good policy stays in force unless the whole file is right."""
        try:
            bundle = await asyncio.to_thread(load_bundle, self._path)
        except InvalidPolicy as invalid:
            self.problems = invalid.problems
            self.reloads["refused"] += 1
            log.error("the new policy is not taken, %s stays in force: %s", self._shelf.in_force.digest.hex(), invalid)
        else:
            self.problems = ()
            self.reloads["taken"] += 1
            self._shelf.enforce(bundle)
            log.info("policy %s version %s (%s) is in force", bundle.name, bundle.version, bundle.digest.hex())
        await self.tell()

    async def tell(self) -> None:
        await self._health.servicer.set(POLICY_HEALTH, NOT_SERVING if self.problems else SERVING)

    def route(self) -> Route:
        """GET /policy: what judges, and why the file on disk does not, if so."""

        async def policy(request: Request) -> Response:
            bundle = self._shelf.in_force
            return JSONResponse(
                {
                    "name": bundle.name,
                    "version": bundle.version,
                    "digest": bundle.digest.hex(),
                    "problems": list(self.problems),
                }
            )

        return Route("/policy", policy)


@asynccontextmanager
async def reloading(file: PolicyFile) -> AsyncIterator[None]:
    """Listens for SIGHUP while open; one reload at a time, and a signal during one starts another after it."""
    asked = asyncio.Event()

    async def serve() -> None:
        while True:
            await asked.wait()
            asked.clear()
            await file.reload()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    task = asyncio.create_task(serve(), name="policy reload")
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
