"""The addresses that a name stands for now: a set of replicas is one name with as many addresses as it has members."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable

Resolve = Callable[[str], Awaitable[list[str]]]

LOOKUP_SECONDS = 2.0


async def resolve(target: str) -> list[str]:
    """host:port for every address of a host:port, sorted. Raises OSError, TimeoutError among it, while it has none.

    IPv4 alone where a host has both: two addresses of one replica would count as two.
    """
    host, _, port = target.rpartition(":")
    if is_address(host):
        return [target]
    lookup = asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    found = await asyncio.wait_for(lookup, LOOKUP_SECONDS)
    for family in (socket.AF_INET, socket.AF_INET6):
        if hosts := {str(address[0]) for kind, *_, address in found if kind == family}:
            return sorted(f"{_bracketed(each)}:{port}" for each in hosts)
    raise OSError(f"{host} has no IP address")


def is_address(host: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class Names:
    """Names with the addresses that each had last. One that nobody answers for keeps them: whoever is behind it has
    gone, and is missed, while a replica that left a set which still has others is let go."""

    def __init__(self, targets: Iterable[str], resolve: Resolve = resolve) -> None:
        self._resolve = resolve
        self._known: dict[str, list[str]] = {target: [] for target in targets}

    @property
    def settled(self) -> bool:
        """Nothing here can ever change."""
        return all(is_address(target.rpartition(":")[0]) for target in self._known)

    async def look_up(self) -> list[str]:
        """Every address of all names, each once."""
        await asyncio.gather(*map(self._refresh, self._known))
        return list(dict.fromkeys(address for each in self._known.values() for address in each))

    async def _refresh(self, target: str) -> None:
        try:
            self._known[target] = await self._resolve(target)
        except OSError:
            return
