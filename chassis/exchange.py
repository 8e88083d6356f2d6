"""Batch streams: many items a message over one long-lived call, each with its own id and its own reply.

Batches form from what already waits; nothing sleeps to gather, so a lone item pays no delay. After a reconnect
every unanswered item is sent again, in its first order; the receiver de-duplicates.

Tasks: `BatchStream.running` owns the task that keeps the stream open, which owns one writer a connection.
`answering` owns its reader and the items it started; all end with the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar, overload

import grpc

from chassis.boundary import draining
from chassis.departures import Departures
from chassis.failures import ResourceExhausted, ServiceError, Unavailable

log = logging.getLogger(__name__)

MAX_BATCH_ITEMS = 48  # a neighbour works on the first of them while we make more; fewer cost CPU and gain nothing
MAX_BATCH_BYTES = 2 * 1024 * 1024  # well under the message bound
MAX_ITEM_BYTES = 4 * 1024 * 1024  # a larger one would break the stream for all, again after each reconnect
RETRY_SECONDS = 0.1
RETRY_AFTER_SECONDS = 1.0  # what callers are told while the neighbour is away
OPENED = ("strongroom-stream", "open")  # in the headers of an open stream; a refused one has headers too, without it


class _Item(Protocol):
    item_id: int

    def ByteSize(self) -> int: ...


I = TypeVar("I", bound=_Item)  # noqa: E741
R = TypeVar("R")
T = TypeVar("T")


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
        self._answered, self._departures = 0, Departures()
        self._pending: dict[int, _Pending[I, R]] = {}  # in the order of their first sending
        self._unsent: list[_Pending[I, R]] = []
        self._work = asyncio.Event()
        self._next_id = 0
        self._trouble = ""  # as last logged: a neighbour that stays away is one line, not ten a second
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

    @overload
    def send(self, item: I) -> asyncio.Future[R]: ...

    @overload
    def send(self, item: I, read: Callable[[R], T]) -> asyncio.Future[T]: ...

    def send(self, item: I, read: Callable[[R], Any] = lambda reply: reply) -> asyncio.Future[Any]:
        """Queues the item and returns its reply to come, or what `read` makes of it or raises; abandoning that does
        not take the item back."""
        size = item.ByteSize()
        if size > MAX_ITEM_BYTES:
            raise ResourceExhausted(
                f"an item for {self._name} has {size} bytes; at most {MAX_ITEM_BYTES}: send less text",
                reason=f"{self._name.upper()}_ITEM_TOO_LARGE",
            )
        if len(self._pending) >= self._max_pending:
            raise ResourceExhausted(
                f"{self._max_pending} items wait for {self._name} already; try again shortly",
                reason=f"{self._name.upper()}_BACKLOG",
                retry_after_seconds=self._departures.seconds_until_room(),
            )
        self._next_id += 1
        item.item_id = self._next_id
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[item.item_id] = _Pending(item, size, waiter, read)
        self._unsent.append(self._pending[item.item_id])
        self._work.set()
        return waiter

    def forget(self, item_id: int) -> None:
        """An item that nobody needs any more is not sent again."""
        self._pending.pop(item_id, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BatchStream[I, R]]:
        """Keeps the stream open, over reconnects, while the context is; what is unanswered then fails."""
        task = asyncio.create_task(self._keep_open(), name=f"stream to {self._name}")
        try:
            yield self
        finally:
            await _ended([task])
            for pending in self._pending.values():
                pending.fail(Unavailable(f"the stream to {self._name} is closed", reason="SHUTTING_DOWN"))

    async def _keep_open(self) -> None:
        while True:
            try:
                await self._one_connection()
                self._say("ended")
            except grpc.aio.AioRpcError as error:
                self._say(error.code().name)
            except asyncio.InvalidStateError:  # grpc.aio: the call ended under a write
                self._say("ended")
            except Exception:
                log.exception("the stream to %s failed", self._name)
            finally:
                self.connected.clear()
            await asyncio.sleep(RETRY_SECONDS)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("no stream to %s: %s; trying again", self._name, trouble)
        self._trouble = trouble

    async def _one_connection(self) -> None:
        call = self._opened()
        try:
            # Headers before the first write: grpc.aio reports a write into a refused call as its own failure.
            if OPENED not in tuple(await call.initial_metadata() or ()):
                await call.read()  # raises the refusal
                raise ConnectionError("the neighbour's handler is not `answering`")
            await call.write(self._pack(()))  # the hello: it names us
            self._unsent = list(self._pending.values())
            self._work.set()
            self._trouble = ""
            self.connected.set()
            reader, writer = asyncio.create_task(self._read(call)), asyncio.create_task(self._write(call))
            try:
                await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
                await (reader if reader.done() else writer)
            finally:
                await _ended([reader, writer])
        finally:
            call.cancel()

    async def _write(self, call: Any) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(0)  # what is ready to run in this turn of the loop may have more for the message
            self._work.clear()
            while self._unsent:
                batch, self._unsent = _first_batch(self._unsent)
                await call.write(self._pack([pending.item for pending in batch]))

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            for reply in self._replies(message):
                if pending := self._pending.pop(reply.item_id, None):
                    self._answered += 1
                    pending.answer(reply)
            self._departures.note(self._answered, 2 * len(self._pending) >= self._max_pending)


class _Pending(Generic[I, R]):
    """An item without an answer yet, and who waits for one."""

    __slots__ = ("_read", "_waiter", "item", "size")

    def __init__(self, item: I, size: int, waiter: asyncio.Future[Any], read: Callable[[R], Any]) -> None:
        self.item, self.size, self._waiter, self._read = item, size, waiter, read

    def answer(self, reply: R) -> None:
        if self._waiter.done():
            return
        try:
            self._waiter.set_result(self._read(reply))
        except Exception as error:  # an answer that is a refusal, for whoever asked
            self.fail(error)

    def fail(self, error: Exception) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(error)
            self._waiter.exception()  # marks it as seen: nobody need wait for it


def _first_batch(items: list[_Pending[I, R]]) -> tuple[list[_Pending[I, R]], list[_Pending[I, R]]]:
    size = count = 0
    for item in items[:MAX_BATCH_ITEMS]:
        size += item.size
        if count and size > MAX_BATCH_BYTES:
            break
        count += 1
    return items[:count], items[count:]


class Later:
    """A reply to come, of an item that `start` was given: whoever makes it gives it, once, on the loop's thread.

    Far cheaper than a future or a task an item. Given after the call has ended, it is nobody's and changes nothing.
    """

    __slots__ = ("give",)

    def __init__(self) -> None:
        self.give: Callable[[Any], None] = _too_early


def _too_early(reply: Any) -> None:
    raise RuntimeError("given before `start` returned: return the reply itself")


async def answering(
    requests: AsyncIterator[Any],
    context: Any,
    start: Callable[[Any], Any],
    items: Callable[[Any], Iterable[Any]],
    pack: Callable[[list[Any]], Any],
) -> AsyncIterator[Any]:
    """The serving side: `start` is given each item in order and returns its reply, a `Later`, or an awaitable of it.

    Yields messages of whatever replies are ready. Ends after the last reply when the caller's stream ends or the
    server drains. A coroutine is cancelled when the call ends early; a future belongs to whoever made it.
    A servicer returns this generator (`def Exchange(…): return answering(…)`): one that iterates over it in a
    generator of its own leaves the clean-up to whenever Python finalises the inner one.
    """
    await context.send_initial_metadata((OPENED,))  # the caller now knows that we are here
    replies = _Replies()

    async def read() -> None:
        async for message in requests:
            for item in items(message):
                replies.begin(start, item)

    reader, drained = asyncio.create_task(read()), asyncio.create_task(draining().wait())
    drained.add_done_callback(lambda _: reader.cancel())
    reader.add_done_callback(lambda _: replies.changed.set())
    try:
        while not reader.done() or replies.owed or replies.ready:
            await replies.changed.wait()
            await asyncio.sleep(0)  # as `_write`: one turn of the loop, no delay
            replies.changed.clear()
            while batch := replies.take():
                yield pack(batch)
            if reader.done() and not reader.cancelled():
                reader.result()  # raises what ended it, at once; what is unanswered comes again
    finally:
        await _ended([reader, drained, *replies.own])


class _Replies:
    """What one call owes: replies that are ready, and how many are still being made."""

    def __init__(self) -> None:
        self.ready: list[Any] = []
        self.owed = 0
        self.own: set[asyncio.Task[Any]] = set()  # made here of coroutines; the other futures have an owner
        self.changed = asyncio.Event()

    def begin(self, start: Callable[[Any], Any], item: Any) -> None:
        try:
            outcome = start(item)
        except ServiceError:  # meant for the whole stream: it ends with this status, and the caller comes again
            raise
        except Exception:  # one bad item must not break the stream for all; its asker waits until its deadline
            log.exception("an item of a batch stream failed")
            return
        if type(outcome) is Later:
            self.owed += 1
            outcome.give = self._given
        elif isinstance(outcome, Awaitable):
            self.owed += 1
            self._await(outcome)
        else:
            self._add(outcome)

    def take(self) -> list[Any]:
        """A batch of what is ready, empty when nothing is."""
        batch, self.ready = self.ready[:MAX_BATCH_ITEMS], self.ready[MAX_BATCH_ITEMS:]
        return batch

    def _add(self, reply: Any) -> None:
        self.ready.append(reply)
        self.changed.set()

    def _given(self, reply: Any) -> None:
        self.owed -= 1
        self._add(reply)

    def _await(self, outcome: Awaitable[Any]) -> None:
        reply = asyncio.ensure_future(outcome)
        if reply is not outcome:
            self.own.add(reply)
        reply.add_done_callback(self._finished)

    def _finished(self, reply: asyncio.Future[Any]) -> None:
        self.owed -= 1
        self.own.discard(reply)
        if reply.cancelled():
            pass
        elif bug := reply.exception():
            log.error("an item of a batch stream failed", exc_info=bug)
        else:
            self.ready.append(reply.result())
        self.changed.set()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels and waits until it is over, so that no task outlives its owner."""
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
