"""The custodian: has decisions recorded, and carries orders out, one at a time, also those that a stop interrupted."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from services.audit.custody.decisions import Custody
from services.audit.custody.orders import (
    Asked,
    Erase,
    Erased,
    Hold,
    NothingHeld,
    Order,
    RetentionRuns,
    Rotate,
    Scope,
    Withdrawn,
)
from services.audit.custody.retention import Retention
from services.audit.records.entries import Act, Outcome, Unavailable
from services.audit.records.planning import COUNTED, Control, Decision, Item

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.25  # while requests are open under a key that is to go
FAILED_RETRY_SECONDS = 5.0  # after a full disk, or a provider that does not answer


class Log(Protocol):
    """The line of what is to be recorded."""

    async def append(self, item: Item) -> Outcome: ...


class Custodian:
    """`drop` is called with everything that was erased, at least once, before the order counts as carried out: whoever
    keeps copies outside the journal drops them there. It may block; if it raises, it is called again."""

    def __init__(
        self,
        line: Log,
        custody: Custody,
        open_under: Callable[[frozenset[str]], int],
        time_of: Callable[[int], int],
        drop: Callable[[Erased], None] = lambda erased: None,
        *,
        retention: Retention | None = None,
        wall: Callable[[], float] = time.time,
        patience_seconds: float = 5.0,
    ) -> None:
        self._line, self._custody, self._drop = line, custody, drop
        self._open_under, self._time_of, self._retention = open_under, time_of, retention or Retention()
        self._wall, self._patience = wall, patience_seconds
        self._work, self._worked = asyncio.Event(), asyncio.Condition()
        # Whoever reads or writes the files of wrapped keys as a whole: a backup, or an order that is carried out.
        self.key_files = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Custodian]:
        task = asyncio.create_task(self._carry_out_orders())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    # --- decisions ---------------------------------------------------------------------------------------------------

    def asked(self, person: str, unit: str, reason: str) -> Asked:
        return Asked(person=person, unit=unit, reason=reason, at_ms=int(self._wall() * 1000))

    async def place_hold(self, scope: Scope, asked: Asked) -> Hold:
        hold = Hold(id=_new_id(), scope=scope, **vars(asked))
        await self._decided(partial(self._custody.place_hold, hold))
        return hold

    async def lift_hold(self, hold_id: str, asked: Asked) -> None:
        await self._decided(partial(self._custody.lift_hold, hold_id, asked))
        self._custody.book.strike(hold_id)

    async def erase(self, scope: Scope, asked: Asked, basis: str = "") -> tuple[Erase, bool]:
        """The order, and whether it is carried out already."""
        key_ids = self._custody.keys.keys_of(*scope)
        if not key_ids:
            raise NothingHeld("it has no key: no request named it, or it was erased before")
        self._custody.check_free(scope)
        newest_leaf = self._custody.newest_leaf(key_ids)
        kept = self._retention.kept(scope.tenant, await asyncio.to_thread(self._time_of, newest_leaf))
        if kept.until_ms <= asked.at_ms:
            basis = ""
        elif not basis:
            until = f"{datetime.fromtimestamp(kept.until_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
            raise RetentionRuns(
                f"it is kept until {until} (class {kept.by}: {kept.days} days from its newest entry on): state a basis "
                "to erase it before"
            )
        order = Erase(
            id=_new_id(), scope=scope, key_ids=key_ids, newest_leaf=newest_leaf, kept=kept, basis=basis, **vars(asked)
        )
        await self._decided(partial(self._custody.order_erasure, order))
        return order, await self._carried_out_soon(order)

    async def rotate(self, asked: Asked) -> tuple[Rotate, bool]:
        async with self.key_files:
            keys = self._custody.keys
            made = await asyncio.to_thread(keys.provider.create)
            order = Rotate(id=made, before=keys.provider_key, **vars(asked))
            await self._decided(partial(self._custody.order_rotation, order))
        return order, await self._carried_out_soon(order)

    async def destroy_provider_keys(self, asked: Asked) -> list[str]:
        """What was decided is recorded first: a key that is gone cannot be brought back to say so."""
        async with self.key_files:
            keys = self._custody.keys
            if not (retired := keys.retired_provider_keys()):
                raise NothingHeld("no key of the provider is retired: `strongroom audit keys rotate` retires one")
            await asyncio.to_thread(keys.check_unused, retired)
            await self._decided(partial(self._custody.destroyed, retired, asked))
            await asyncio.to_thread(keys.destroy_provider_keys, retired)
        return retired

    async def _decided(self, decide: Callable[[], Act]) -> None:
        await self._line.append(Decision(decide))

    # --- orders ------------------------------------------------------------------------------------------------------

    @property
    def rotating(self) -> bool:
        return any(isinstance(order, Rotate) for order in self._custody.book.orders.values())

    def open_records(self, order: Erase) -> int:
        return self._open_under(frozenset(order.key_ids))

    async def _carried_out_soon(self, order: Order) -> bool:
        self._work.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience), self._worked:
                await self._worked.wait_for(lambda: order.id not in self._custody.book.orders)
        return order.id not in self._custody.book.orders

    async def _carry_out_orders(self) -> None:
        while True:
            self._work.clear()
            again = None
            for order in list(self._custody.book.orders.values()):
                try:
                    if not await self._carried_out(order):
                        again = again or RETRY_SECONDS
                except Unavailable:  # audit is stopping: the next start goes on with it
                    return
                except Withdrawn:
                    log.info("the erasure %s was withdrawn: a hold was placed", order.id)
                except Exception:
                    log.exception("the order %s could not be carried out; trying again", order.id)
                    again = FAILED_RETRY_SECONDS
            async with self._worked:
                self._worked.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await self._work.wait()

    async def _carried_out(self, order: Order) -> bool:
        async with self.key_files:
            if isinstance(order, Rotate):
                await asyncio.to_thread(self._custody.keys.rewrap)
                await self._decided(partial(self._custody.rotated, order))
            elif not await self._destroyed(order):
                return False
        self._custody.book.strike(order.id)
        return True

    async def _destroyed(self, order: Erase) -> bool:
        keys = frozenset(order.key_ids)
        if self._open_under(keys):
            return False
        custody, tenant = self._custody, order.scope.tenant
        table = None
        if custody.remaining(order):
            table = await asyncio.to_thread(custody.keys.table_without, tenant, keys)
            # Durable by itself: it holds the counts of all before it, which no start can count again afterwards.
            await self._line.append(Control(COUNTED, {"erasure": order.id}))
        await self._decided(partial(custody.destroy, order, table))
        await asyncio.to_thread(self._drop, Erased(tenant, order.scope.subject, order.key_ids))
        return True


def _new_id() -> str:
    return os.urandom(8).hex()
