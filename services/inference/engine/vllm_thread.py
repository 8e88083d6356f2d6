"""vLLM's AsyncLLM on an event loop and a thread of its own: requests go in, what each step made comes out in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.5  # how soon the death of an engine that nobody asks anything is known
CLOSE_SECONDS = 20.0  # for its processes to end


class Llm(Protocol):
    """What is used of AsyncLLM."""

    @property
    def errored(self) -> bool:
        """Its engine's process is dead: no request will ever get an answer."""

    def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, *, trace_headers: Any, priority: int
    ) -> AsyncIterator[Any]: ...

    def shutdown(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One request as vLLM takes it. Compared by identity: an id may come again."""

    request_id: str
    prompt: Any
    params: Any
    priority: int
    trace_headers: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Made:
    """What came out for a request, or None where vLLM gave it up."""

    asked: Asked
    output: Any


class LlmThread:
    """Owns the loop. Every method but `run` may be called from any thread."""

    def __init__(self, opened: Callable[[], Awaitable[Llm]]) -> None:
        """Opens it on its own loop and waits; raises what `opened` raised."""
        self._loop = asyncio.new_event_loop()
        self._outbox: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self._tasks: dict[Asked, asyncio.Task[None]] = {}
        self._llm: Llm
        self.died = False
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened, ready), name="vllm", daemon=True)
        self._thread.start()
        ready.result()

    def begin(self, asked: Asked) -> None:
        self._loop.call_soon_threadsafe(self._begin, asked)

    def abort(self, asked: Asked) -> None:
        """Nothing more of it is wanted; what is already on its way may still come out."""
        self._loop.call_soon_threadsafe(self._abort, asked)

    def made(self, patience_seconds: float) -> Iterator[Made]:
        """All that is there; if nothing is, what comes within the patience."""
        try:
            yield self._outbox.get(timeout=patience_seconds)
            while True:
                yield self._outbox.get_nowait()
        except queue.Empty:
            return

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_SECONDS)

    def _run(self, opened: Callable[[], Awaitable[Llm]], ready: Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._llm = self._loop.run_until_complete(opened())
        except BaseException as error:
            ready.set_exception(error)
            return
        del opened
        watching = self._loop.create_task(self._watch())
        ready.set_result(None)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_cancelled([watching, *self._tasks.values()]))
        finally:
            self._llm.shutdown()
            self._loop.run_until_complete(_cancelled(asyncio.all_tasks(self._loop)))
            self._loop.close()
            del self._llm
            gc.collect()  # it lies in cycles, and its end must not come when the interpreter has half ended

    async def _watch(self) -> None:
        while not self._llm.errored:
            await asyncio.sleep(WATCH_SECONDS)
        self.died = True

    def _begin(self, asked: Asked) -> None:
        self._tasks[asked] = task = self._loop.create_task(self._generate(asked))
        task.add_done_callback(lambda _: self._tasks.pop(asked, None))

    def _abort(self, asked: Asked) -> None:
        if task := self._tasks.get(asked):
            task.cancel()  # AsyncLLM tells its engine to abort when its caller is cancelled

    async def _generate(self, asked: Asked) -> None:
        try:
            async for output in self._llm.generate(
                asked.prompt,
                asked.params,
                asked.request_id,
                trace_headers=asked.trace_headers,
                priority=asked.priority,
            ):
                self._outbox.put(Made(asked, output))
        except Exception as error:  # its text may hold a prompt
            if self._llm.errored:
                self.died = True
                return
            log.error("request %s: vLLM gave it up: %s", asked.request_id, type(error).__name__)
            self._outbox.put(Made(asked, None))


async def _cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
