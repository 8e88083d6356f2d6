"""Whose connections may read the pages: this machine's, and from inside a container those that its host passes on."""

from __future__ import annotations

from pathlib import Path

LOOPBACK = frozenset({"127.0.0.1", "::1"})
ROUTES = Path("/proc/net/route")


class NoHost(Exception):
    """Nothing says which address is the host's."""


def readers(page_for: str, routes: Path = ROUTES) -> frozenset[str]:
    """`page_for`: loopback, or host: then whoever reads a port that the host publishes, which Docker's proxy opens from
    the host's own address in the container's network. Other containers have others."""
    return LOOPBACK | {host_address(routes.read_text())} if page_for == "host" else LOOPBACK


def host_address(table: str) -> str:
    """Where the default route leads, in the kernel's own table: addresses in hexadecimal, last byte first."""
    for line in table.splitlines()[1:]:
        _, destination, gateway, *_ = line.split()
        if int(destination, 16) == 0 and int(gateway, 16):
            return ".".join(map(str, reversed(bytes.fromhex(gateway))))
    raise NoHost("STRONGROOM_MONITOR_PAGE_FOR: host, but there is no default route here: set it to loopback")
