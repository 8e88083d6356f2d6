"""Whom the monitor asks when services are names: each replica, and by its name a service that nobody found yet."""

from __future__ import annotations

from services.monitor.scraping.discovery import Discovery
from services.monitor.scraping.targets import MAX_TARGETS, parse_targets

NAMED = "guard=guard:7411,inference=inference:7412,audit=127.0.0.1:7413"


class Hosts(dict):  # type: ignore[type-arg]
    """A name service that a test rewrites."""

    async def __call__(self, target: str) -> list[str]:
        host, _, port = target.rpartition(":")
        if host == "127.0.0.1":
            return [target]
        if not self.get(host):
            raise OSError("no such name")
        return [f"{address}:{port}" for address in self[host]]


def found(targets):
    return [f"{target.service}={target.instance}" for target in targets]


async def test_every_replica_is_a_target_and_a_service_not_found_is_one_by_name():
    """Fails if `targets` leaves a service out that has no address yet: nobody would see that it is away."""
    hosts = Hosts(guard=["10.0.0.1", "10.0.0.2"])
    discovery = Discovery(parse_targets(NAMED), hosts)
    assert found(await discovery.targets()) == [
        "guard=10.0.0.1:7411",
        "guard=10.0.0.2:7411",
        "inference=inference:7412",
        "audit=127.0.0.1:7413",
    ]
    hosts |= {"guard": ["10.0.0.2"], "inference": ["10.0.0.3"]}
    assert found(await discovery.targets()) == [
        "guard=10.0.0.2:7411",
        "inference=10.0.0.3:7412",
        "audit=127.0.0.1:7413",
    ]
    hosts.clear()
    assert found(await discovery.targets()) == [
        "guard=10.0.0.2:7411",
        "inference=10.0.0.3:7412",
        "audit=127.0.0.1:7413",
    ]


async def test_invariant_6_a_name_with_more_addresses_than_the_bound_is_cut():
    """Fails if `targets` returns all that it found."""
    hosts = Hosts(guard=[f"10.0.{n // 250}.{n % 250}" for n in range(500)])
    assert len(await Discovery(parse_targets(NAMED), hosts).targets()) == MAX_TARGETS
