"""Whom the monitor asks: this machine's stack, its further workers, and whatever a setting names."""

from __future__ import annotations

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS
from services.monitor.windows.windows import Target

WORKER_PORTS = 21  # the HTTP port of worker k ≥ 1 is base + 21 + 2k

JOB = "strongroom-"
SERVICES = ("gateway", "guard", "inference", "audit")
MAX_TARGETS = 64


def job(service: str) -> str:
    return JOB + service


def parse_targets(text: str) -> list[Target]:
    """`guard=10.0.0.5:7411,inference=10.0.0.6:7412`; raises ValueError with what is wrong."""
    targets = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        service, equals, address = part.partition("=")
        host, colon, port = address.rpartition(":")
        if not equals or service not in SERVICES:
            raise ValueError(f"{part!r} must be SERVICE=HOST:PORT with SERVICE one of {', '.join(SERVICES)}")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536 or "/" in host or "@" in host:
            raise ValueError(f"{part!r} must end with =HOST:PORT, the port that serves /metrics")
        targets.append(Target(job(service), address))
    if len(targets) > MAX_TARGETS:
        raise ValueError(f"{len(targets)} targets are more than {MAX_TARGETS}: use Prometheus for so many")
    return targets


def stack_targets(host: str, port_base: int, workers: int) -> list[Target]:
    """A local stack's own, by their ports."""
    host = f"[{host}]" if ":" in host else host
    singles = [name for name in SERVICES if name != "inference" or workers]
    targets = [Target(job(name), f"{host}:{port_base + PORT_OFFSETS[name] + HTTP_OFFSET}") for name in singles]
    further = [f"{host}:{port_base + WORKER_PORTS + 2 * number}" for number in range(1, workers)]
    return targets + [Target(job("inference"), address) for address in further]
