"""Names and their addresses: what is looked up, what is kept when nobody answers, what is let go."""

import pytest

from chassis.resolution import Names, resolve


class Answers:
    """A name service that a test rewrites."""

    def __init__(self, **hosts):
        self.hosts = hosts

    async def __call__(self, target):
        host, _, port = target.rpartition(":")
        if not self.hosts.get(host):
            raise OSError("no such name")
        return [f"{address}:{port}" for address in self.hosts[host]]


@pytest.mark.parametrize("target", ["127.0.0.1:7401", "[::1]:7401", "10.0.0.7:1"])
async def test_an_address_stands_for_itself(target):
    assert await resolve(target) == [target]


async def test_a_host_with_both_families_counts_once():
    """Fails if `resolve` takes all families together: localhost may then be two replicas."""
    assert await resolve("localhost:7401") == ["127.0.0.1:7401"]


async def test_a_name_that_nobody_knows_is_an_os_error():
    with pytest.raises(OSError):
        await resolve("no-such-host.invalid:1")


async def test_replicas_come_and_go_with_their_name():
    answers = Answers(guard=["10.0.0.1", "10.0.0.2"])
    names = Names(["guard:7401"], answers)
    assert await names.look_up() == ["10.0.0.1:7401", "10.0.0.2:7401"]
    answers.hosts["guard"] = ["10.0.0.2", "10.0.0.3"]
    assert await names.look_up() == ["10.0.0.2:7401", "10.0.0.3:7401"]


async def test_a_name_without_an_address_keeps_those_it_had():
    """Fails if `_refresh` clears what is known: a set whose last member died would be nobody's to miss."""
    answers = Answers(guard=["10.0.0.1"])
    names = Names(["guard:7401", "audit:7403"], answers)
    assert await names.look_up() == ["10.0.0.1:7401"]
    answers.hosts["guard"] = []
    assert await names.look_up() == ["10.0.0.1:7401"]


def test_only_names_need_looking_up_again():
    assert Names(["127.0.0.1:7401", "[::1]:7401"]).settled
    assert not Names(["127.0.0.1:7401", "guard:7401"]).settled
