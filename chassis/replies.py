"""What the serving side of a batch stream owes: replies that are ready, and those still being made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from chassis.exchange import MAX_BATCH_ITEMS
from chassis.failures import ServiceError

log = logging.getLogger(__name__)


class Later:
    """A reply to come, of an item that `start` was given: whoever makes it gives it, once, on the loop's thread.

    Far cheaper than a future or a task an item. Given after the call has ended, it is nobody's and changes nothing.
    """

    __slots__ = ("give",)

    def __init__(self) -> None:
        self.give: Callable[[Any], None] = _too_early


def _too_early(reply: Any) -> None:
    raise RuntimeError("given before `start` returned: return the reply itself")


class Replies:
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
