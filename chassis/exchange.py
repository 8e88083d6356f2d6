"""Batch streams: many items a message over one long-lived call, each with its own id and its own reply.

Batches form from what already waits; nothing sleeps to gather, so a lone item pays no delay. After a reconnect
every unanswered item is sent again, in its first order; the receiver de-duplicates.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import grpc

from chassis.failures import ResourceExhausted, Unavailable

log = logging.getLogger(__name__)

MAX_BATCH_ITEMS = 256
MAX_BATCH_BYTES = 2 * 1024 * 1024  # well under the message bound
RETRY_SECONDS = 0.1
RETRY_AFTER_SECONDS = 1.0  # what callers are told while the neighbour is away


class _Item(Protocol):
    item_id: int

    def ByteSize(self) -> int: ...


I = TypeVar("I", bound=_Item)  # noqa: E741
R = TypeVar("R")


class BatchStream(Generic[I, R]):
    """The calling side of one batch stream to one replica. Owned by one event loop."""

    def __init__(
        self,
        name: str,
        opened: Callable[[], Any],
        pack: Callable[[Sequence[I]], Any],
        replies: Callable[[Any], Iterable[Any]],
        max_pending: int = 8192,
    ) -> None:
        """`opened` makes the call, `pack` a message of items, `replies` takes a message's replies out."""
        self._name, self._opened, self._pack, self._replies = name, opened, pack, replies
        self._max_pending = max_pending
        self._pending: dict[int, tuple[I, asyncio.Future[R]]] = {}  # in the order of their first sending
        self._unsent: list[I] = []
        self._work = asyncio.Event()
        self._next_id = 0
        self.connected = asyncio.Event()

    @property
    def pending(self) -> int:
        return len(self._pending)

    def require_connected(self) -> None:
        """For new work: refused at once while the neighbour is away, so that nobody waits for nothing."""
        if not self.connected.is_set():
            raise Unavailable(
                f"{self._name} is away; try again shortly",
                reason=f"{self._name.upper()}_UNAVAILABLE",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )

    def send(self, item: I) -> asyncio.Future[R]:
        """Queues the item and returns its reply to come; abandoning the reply does not take the item back."""
        if len(self._pending) >= self._max_pending:
            raise ResourceExhausted(
                f"{self._max_pending} items wait for {self._name} already; try again shortly",
                reason=f"{self._name.upper()}_BACKLOG",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._next_id += 1
        item.item_id = self._next_id
        reply: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._pending[item.item_id] = (item, reply)
        self._unsent.append(item)
        self._work.set()
        return reply

    def forget(self, item_id: int) -> None:
        """An item that nobody needs any more is not sent again."""
        self._pending.pop(item_id, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BatchStream[I, R]]:
        """Keeps the stream open, over reconnects, while the context is."""
        task = asyncio.create_task(self._keep_open(), name=f"stream to {self._name}")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_open(self) -> None:
        while True:
            try:
                await self._one_connection()
                log.warning("the stream to %s ended; opening it again", self._name)
            except grpc.aio.AioRpcError as error:
                if self.connected.is_set():
                    log.warning("the stream to %s broke: %s", self._name, error.code().name)
            except Exception:
                log.exception("the stream to %s failed", self._name)
            finally:
                self.connected.clear()
            await asyncio.sleep(RETRY_SECONDS)

    async def _one_connection(self) -> None:
        call = self._opened()
        try:
            # The hello goes first: it names us; the neighbour's headers then say that it is there.
            await call.write(self._pack(()))
            await call.initial_metadata()
            self._unsent = [item for item, _ in self._pending.values()]
            self._work.set()
            self.connected.set()
            writer = asyncio.create_task(self._write(call))
            try:
                await self._read(call)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        finally:
            call.cancel()

    async def _write(self, call: Any) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._unsent:
                batch, self._unsent = _first_batch(self._unsent)
                await call.write(self._pack(batch))

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            for reply in self._replies(message):
                _, waiter = self._pending.pop(reply.item_id, (None, None))
                if waiter is not None and not waiter.done():
                    waiter.set_result(reply)


def _first_batch(items: list[I]) -> tuple[list[I], list[I]]:
    size = count = 0
    for item in items[:MAX_BATCH_ITEMS]:
        size += item.ByteSize()
        if count and size > MAX_BATCH_BYTES:
            break
        count += 1
    return items[:count], items[count:]


async def answering(
    requests: AsyncIterator[Any],
    context: Any,
    start: Callable[[Any], Awaitable[Any] | Any],
    items: Callable[[Any], Iterable[Any]],
    pack: Callable[[list[Any]], Any],
) -> AsyncIterator[Any]:
    """The serving side: `start` is given each item in order and returns its reply, or an awaitable of it.

    Yields messages of whatever replies are ready. Ends with the caller's stream, after the last reply.
    """
    await context.send_initial_metadata(())  # the caller now knows that we are here
    ready: list[Any] = []
    changed = asyncio.Event()
    open_replies: set[asyncio.Future[Any]] = set()

    def finished(reply: asyncio.Future[Any]) -> None:
        open_replies.discard(reply)
        if reply.cancelled():
            return
        if bug := reply.exception():  # handlers answer with a status; this item's asker waits until its deadline
            log.error("an item of a batch stream failed", exc_info=bug)
        else:
            ready.append(reply.result())
        changed.set()

    async def read() -> None:
        async for message in requests:
            for item in items(message):
                outcome = start(item)
                if isinstance(outcome, Awaitable):
                    reply = asyncio.ensure_future(outcome)
                    open_replies.add(reply)
                    reply.add_done_callback(finished)
                else:
                    ready.append(outcome)
            changed.set()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: changed.set())
    try:
        while not (reader.done() and not open_replies and not ready):
            await changed.wait()
            changed.clear()
            while ready:
                batch, ready[:] = ready[:MAX_BATCH_ITEMS], ready[MAX_BATCH_ITEMS:]
                yield pack(batch)
        reader.result()
    finally:
        reader.cancel()
        for reply in tuple(open_replies):
            reply.cancel()
