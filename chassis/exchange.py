"""Batch streams: many items a message over one long-lived call, each with its own id and its own reply.

Batches form from what already waits; nothing sleeps to gather, so a lone item pays no delay. After a reconnect
every unanswered item is sent again, in its first order; the receiver de-duplicates. This is the calling side;
`answering` is the serving one.

Tasks: an entered `BatchStream` owns the one that keeps it open, which owns one reader and one writer a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import grpc

from chassis.departures import Departures
from chassis.failures import ResourceExhausted, Unavailable

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
    """The calling side of one batch stream to one replica, open while it is entered. Owned by one event loop."""

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
        self._keeping: asyncio.Task[None] | None = None  # it open, while entered
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

    async def __aenter__(self) -> BatchStream[I, R]:
        """Keeps the stream open, over reconnects, while the context is; what is unanswered then fails."""
        self._keeping = asyncio.create_task(self._keep_open(), name=f"stream to {self._name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping:
            await ended([self._keeping])
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
                await ended([reader, writer])
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


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels and waits until it is over, so that no task outlives its owner."""
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
