"""The guards there are: one batch stream to each, as many as the configured names have addresses now.

Tasks: `running` owns the one that looks the names up; every replica's stream owns its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import blake2b

from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc as rpc

from chassis.client import connect
from chassis.essential import essential
from chassis.exchange import RETRY_AFTER_SECONDS, BatchStream
from chassis.failures import Unavailable
from chassis.resolution import Names, Resolve, resolve

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 1.0


class Replica:
    """One guard. `left` once its name stands for it no more: what it has not answered belongs to another."""

    def __init__(self, address: str, stub: rpc.GuardServiceStub) -> None:
        self.address, self.stub = address, stub
        self.stream: BatchStream[pb.Item, pb.ItemReply] = BatchStream(
            "guard", stub.Exchange, _pack, lambda message: message.replies
        )
        self.left = False
        self.opened = AsyncExitStack()

    @property
    def connected(self) -> bool:
        return self.stream.connected.is_set()


class Replicas:
    """Owned by the event loop."""

    def __init__(
        self, addresses: Sequence[str], token: str, resolve: Resolve = resolve, seconds: float = LOOK_UP_SECONDS
    ) -> None:
        self._names, self._token, self._seconds = Names(addresses, resolve), token, seconds
        self._replicas: dict[str, Replica] = {}

    @property
    def all(self) -> list[Replica]:
        return list(self._replicas.values())

    def require(self) -> None:
        if not any(replica.connected for replica in self._replicas.values()):
            raise Unavailable(
                "guard is away; try again shortly", reason="GUARD_UNAVAILABLE", retry_after_seconds=RETRY_AFTER_SECONDS
            )

    def ranked(self, key: str) -> list[Replica]:
        """A request stays with the first, which has its filter; the others are asked while that one is away.

        By highest random weight: a replica that comes or goes moves only the requests that it gets or had. Raises
        Unavailable while no name has had an address yet.
        """
        if len(self._replicas) < 2:
            if not self._replicas:
                self.require()
            return self.all
        weight: Callable[[Replica], tuple[bool, bytes]] = lambda each: (each.connected, _weight(each, key))
        return sorted(self._replicas.values(), key=weight, reverse=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Replicas]:
        """Streams to all replicas while the context is open."""
        await self._look_up()
        task = None if self._names.settled else essential(asyncio.create_task(self._follow(), name="guards"))
        try:
            yield self
        finally:
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for replica in self.all:
                await replica.opened.aclose()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._look_up()

    async def _look_up(self) -> None:
        found = await self._names.look_up()
        for address in found:
            if address not in self._replicas:
                await self._join(address)
        for address in self._replicas.keys() - set(found):
            await self._leave(self._replicas.pop(address))

    async def _join(self, address: str) -> None:
        channel = connect(address, self._token)
        replica = Replica(address, rpc.GuardServiceStub(channel))
        await replica.opened.enter_async_context(channel)
        await replica.opened.enter_async_context(replica.stream)
        self._replicas[address] = replica
        log.info("guard replica %s: %d known", address, len(self._replicas))

    async def _leave(self, replica: Replica) -> None:
        replica.left = True  # before its stream closes, which fails what waits for it
        await replica.opened.aclose()
        log.info("guard replica %s is gone: %d left", replica.address, len(self._replicas))


def _weight(replica: Replica, key: str) -> bytes:
    return blake2b(f"{replica.address} {key}".encode(), digest_size=8).digest()


def _pack(items: Sequence[pb.Item]) -> pb.ExchangeRequest:
    return pb.ExchangeRequest(items=items)
