"""Guards that come and go behind one name: who is asked what, and what becomes of what one has not answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.failures import Unavailable
from chassis.server import serving
from services.gateway.guard_client import GuardClient
from services.gateway.guard_replicas import Replicas
from services.gateway.requests.question import Message

PREFIX = "/strongroom.guard.v1.GuardService/"
ASKED = [Message("user", "hello")]
IDS = [f"request-{n}" for n in range(60)]


class Fleet:
    """Real guard servicers on loopback ports, and the name that stands for those of `named`."""

    def __init__(self, opened: AsyncExitStack, servicer: Any, known: Any) -> None:
        self._opened, self._servicer, self._known = opened, servicer, known
        self.named: list[str] = []
        self.guards: dict[str, Any] = {}

    async def start(self) -> str:
        guard, gateway = self._servicer(), frozenset({"service:gateway"})
        add = lambda server: guard_pb2_grpc.add_GuardServiceServicer_to_server(guard, server)
        allowed = {PREFIX + name: gateway for name in ("Exchange", "GetPolicy")}
        serves = serving("127.0.0.1:0", add, known=self._known, allowed=allowed, grace_seconds=0)
        address = f"127.0.0.1:{await self._opened.enter_async_context(serves)}"
        self.guards[address] = guard
        self.named.append(address)
        return address

    async def resolve(self, target: str) -> list[str]:
        if not self.named:
            raise OSError("nobody")
        return list(self.named)

    def asked(self, address: str) -> list[str]:
        return [item.screen.request_id or item.filter.request_id for item in self.guards[address].items]


@pytest.fixture
async def fleet(parts: SimpleNamespace) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as opened:
        yield Fleet(opened, parts.guard_servicer, parts.known)


@asynccontextmanager
async def client_of(fleet: Fleet) -> AsyncIterator[GuardClient]:
    async with Replicas(["guard:7401"], "gateway", fleet.resolve, seconds=0.02).running() as replicas:
        yield GuardClient(replicas)


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def connected(client: GuardClient, count: int) -> Any:
    return lambda: [replica.connected for replica in client.replicas.all] == [True] * count


async def screen_all(client: GuardClient) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    await asyncio.gather(*(client.screen(id, ASKED, deadline) for id in IDS))


async def test_work_spreads_and_a_request_stays_with_its_replica(fleet: Fleet) -> None:
    first, second = await fleet.start(), await fleet.start()
    async with client_of(fleet) as client:
        await until(connected(client, 2))
        await screen_all(client)
        of_first, of_second = set(fleet.asked(first)), set(fleet.asked(second))
        assert len(of_first) > 10 and len(of_second) > 10
        await screen_all(client)
        assert (set(fleet.asked(first)), set(fleet.asked(second))) == (of_first, of_second)


async def test_a_replica_that_joins_takes_its_share_and_moves_nothing_else(fleet: Fleet) -> None:
    """Fails if `ranked` takes the request id modulo the number of replicas: filters would be lost at every change."""
    first, second = await fleet.start(), await fleet.start()
    async with client_of(fleet) as client:
        await until(connected(client, 2))
        await screen_all(client)
        before = {address: set(fleet.asked(address)) for address in (first, second)}
        third = await fleet.start()
        await until(connected(client, 3))
        await screen_all(client)
        moved = set(fleet.asked(third))
        assert len(moved) > 5
        for address in (first, second):
            assert set(fleet.asked(address)[len(before[address]) :]) == before[address] - moved


async def test_what_a_replica_that_left_has_not_answered_another_answers(fleet: Fleet) -> None:
    """Fails if `_ask` raises whatever a closed stream says: requests would fail when guards are scaled down."""
    first, second = await fleet.start(), await fleet.start()
    async with client_of(fleet) as client:
        await until(connected(client, 2))
        fleet.guards[first].filters.clear()  # it takes pieces, and says nothing any more
        deadline = asyncio.get_running_loop().time() + 30
        asked = [asyncio.create_task(client.filter(id, b"p", 0, "text", True, deadline)) for id in IDS]
        await until(lambda: fleet.asked(first) and len(fleet.asked(first) + fleet.asked(second)) == len(IDS))
        held = set(fleet.asked(first))
        fleet.named.remove(first)
        assert [each.text for each in await asyncio.gather(*asked)] == ["text"] * len(IDS)
        assert held <= set(fleet.asked(second))


async def test_a_name_that_nobody_answers_for_lets_no_replica_go(fleet: Fleet) -> None:
    address = await fleet.start()
    async with client_of(fleet) as client:
        await until(connected(client, 1))
        fleet.named.clear()
        await asyncio.sleep(0.2)  # ten look-ups
        await screen_all(client)
        assert set(fleet.asked(address)) == set(IDS)


async def test_without_any_replica_new_work_is_refused_at_once(fleet: Fleet) -> None:
    async with client_of(fleet) as client:
        with pytest.raises(Unavailable, match="guard is away"):
            client.require()
        with pytest.raises(Unavailable, match="guard is away"):
            await client.screen("request", ASKED, asyncio.get_running_loop().time() + 30)
        await fleet.start()
        await until(connected(client, 1))
        client.require()


async def test_a_policy_is_fetched_from_whichever_replica_has_it(fleet: Fleet) -> None:
    """Fails if the first replica's answer is final: a replica that has not yet loaded a new policy would fail it."""
    first, second = await fleet.start(), await fleet.start()
    async with client_of(fleet) as client:
        await until(connected(client, 2))
        for address in (first, second):
            fleet.guards[address].lacking = True
            assert await client.policy(b"digest") == b"policy: text"
            fleet.guards[address].lacking = False
        fleet.guards[first].lacking = fleet.guards[second].lacking = True
        with pytest.raises(grpc.aio.AioRpcError, match="no such policy"):
            await client.policy(b"digest")
