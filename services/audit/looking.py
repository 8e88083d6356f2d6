"""Looks into the index for those who read: what goes wrong there becomes a status that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from chassis.failures import FailedPrecondition, ResourceExhausted, Unavailable
from services.audit.index.checking import Check
from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.process import IndexAway
from services.audit.index.rebuild import Rebuild
from services.audit.index.store import IndexStore

T = TypeVar("T")

RETRY_SECONDS = 10.0


class Index(Protocol):
    """The index, whichever process writes it."""

    @property
    def store(self) -> IndexStore:
        """May wait; raises IndexAway where there is none yet."""

    @property
    def leaves(self) -> int: ...

    def rebuild(self) -> Rebuild: ...

    def check(self) -> Iterator[Check]: ...


class IndexReader:
    def __init__(self, index: Index | None) -> None:
        self._index = index

    @property
    def there(self) -> bool:
        return self._index is not None

    @property
    def kept(self) -> Index:
        if self._index is None:
            raise FailedPrecondition("this audit keeps no index", reason="NO_INDEX")
        return self._index

    async def look(self, question: Callable[[IndexStore], T]) -> T:
        """Asked by a thread, so that the loop, on which entries are committed, waits for no disk."""
        index = self.kept
        try:
            return await asyncio.to_thread(_asked, index, question)
        except TooSlow:
            raise ResourceExhausted(
                "the search took too long: ask for a shorter time, a tenant or a rarer word",
                reason="SEARCH_TOO_SLOW",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
        except IndexAway:
            raise away() from None
        except IndexDamaged:
            index.rebuild()
            raise Unavailable(
                "a page of the index does not open: it is being made again from the journal",
                reason="INDEX_DAMAGED",
                retry_after_seconds=RETRY_SECONDS,
            ) from None


def away() -> Unavailable:
    return Unavailable(
        "the index is not there yet, or the process that writes it was lost and is started again: audit's log says why",
        reason="INDEX_AWAY",
        retry_after_seconds=RETRY_SECONDS,
    )


def _asked(index: Index, question: Callable[[IndexStore], T]) -> T:
    store = index.store
    try:
        return question(store)
    except IndexDamaged:
        if index.store is store:
            raise
        return question(index.store)  # its file was replaced, and removed, before this opened it
