"""Compiles the grammars of claimed requests beside the event loop and the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from services.inference.engine.protocol import Engine, EngineRefusal, Failure, Work

log = logging.getLogger(__name__)

# Gateways let no grammar through that takes them a second; nothing can stop one here.
PREPARE_SECONDS = 10.0
COMPILERS = 2  # threads


class Preparation:
    """Owned by the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._compilers = ThreadPoolExecutor(max_workers=COMPILERS, thread_name_prefix="grammar")
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Work, then: Callable[[str], None]) -> None:
        """Calls `then`, on the loop, with why the work cannot be run; empty if it can. Not after `close`."""
        self._tasks.add(task := asyncio.create_task(self._prepare(work, then)))
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._compilers.shutdown(wait=False, cancel_futures=True)

    async def _prepare(self, work: Work, then: Callable[[str], None]) -> None:
        then(await self._failure(work))

    async def _failure(self, work: Work) -> str:
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._compilers, self._engine.prepare, work)
        except TimeoutError:
            return Failure.GRAMMAR_TOO_COMPLEX.value
        except EngineRefusal as refusal:
            return refusal.reason
        except Exception as error:  # whatever it is, it is this request's alone
            log.error("request %s could not be prepared: %s", work.request_id, type(error).__name__)
            return Failure.ENGINE_ERROR.value
        return ""
