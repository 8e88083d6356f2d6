"""Ports: who holds one that the stack needs, a process left over from this home or somebody else's; and free ones."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Sequence

import psutil

from stack.process import Plan
from stack.runfiles import RunFile

A_STACKS_PORTS = 40  # up to worker 9
_asked_for: list[socket.socket] = []  # by this process: the port behind each base's own stays bound while it lives
BELOW_THE_KERNELS = 32_700  # from about here on Linux gives ports to connections

OTHERS = "stop what is not yours, or choose other ports with --port-base"
OURS = "`strongroom down` ends what an earlier run left behind"


def taken_ports(plans: Iterable[Plan], left_over: Sequence[RunFile]) -> list[str]:
    """One line for each port that cannot be had, and the remedies; nothing if all are free."""
    names = {run.pid: run.name for run in left_over if run.process()}
    lines, remedies = [], set()
    for plan in plans:
        for address in plan.ports:
            if not _is_free(address):
                holder = _holder(int(address.rpartition(":")[2]))
                ours = holder is not None and holder.pid in names
                who = f"pid {holder.pid} ({holder.name()})" if holder else "another user's process"
                who = f"{names[holder.pid]} of an earlier run, {who}" if holder and ours else who
                lines.append(f"{address}, which {plan.name} needs, is taken by {who}")
                remedies.add(OURS if ours else OTHERS)
    return [*lines, *sorted(remedies)]


def free_port_base() -> int:
    """A base from which on every port of a stack is free on loopback: for stacks that stand beside others. Whoever asks
    while this process lives, here or elsewhere, is given another one: it may be long until a stack takes its ports."""
    for _ in range(200):
        base = random.randrange(20_000, BELOW_THE_KERNELS, A_STACKS_PORTS + 1)
        mark = socket.socket()
        try:
            mark.bind(("127.0.0.1", base + A_STACKS_PORTS))
        except OSError:
            mark.close()
            continue
        if all(_is_free(f"127.0.0.1:{base + offset}") for offset in range(A_STACKS_PORTS)):
            _asked_for.append(mark)
            return base
        mark.close()
    raise RuntimeError(f"no {A_STACKS_PORTS} free ports in a row between 20000 and {BELOW_THE_KERNELS}")


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not hold a port
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _holder(port: int) -> psutil.Process | None:
    """Who listens there; of other users' processes the kernel does not tell."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        pass
    return None
