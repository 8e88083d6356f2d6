"""Looks into the index for those who read: what goes wrong there becomes a status that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from chassis.failures import FailedPrecondition, ResourceExhausted, Unavailable
from services.audit.index.database import IndexDamaged, TooSlow
from services.audit.index.follower import Follower
from services.audit.index.store import IndexStore

T = TypeVar("T")

RETRY_SECONDS = 10.0


class IndexReader:
    def __init__(self, index: Follower | None) -> None:
        self._index = index

    @property
    def kept(self) -> bool:
        return self._index is not None

    @property
    def follower(self) -> Follower:
        if self._index is None:
            raise FailedPrecondition("this audit keeps no index", reason="NO_INDEX")
        return self._index

    async def look(self, question: Callable[[IndexStore], T]) -> T:
        """Asked by a thread, so that the loop, on which entries are committed, waits for no disk."""
        index = self.follower
        try:
            return await asyncio.to_thread(question, index.store)
        except TooSlow:
            raise ResourceExhausted(
                "the search took too long: ask for a shorter time, a tenant or a rarer word",
                reason="SEARCH_TOO_SLOW",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
        except IndexDamaged:
            index.rebuild()
            raise Unavailable(
                "a page of the index does not open: it is being made again from the journal",
                reason="INDEX_DAMAGED",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
