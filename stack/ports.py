"""Who holds a port that the stack needs, told apart: a process left over from this home, or somebody else's."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence

import psutil

from stack.process import Plan
from stack.runfiles import RunFile


def taken_ports(plans: Iterable[Plan], left_over: Sequence[RunFile]) -> list[str]:
    """One line for each port that cannot be had, with the remedy."""
    pids = {run.pid: run for run in left_over if run.process()}
    lines = []
    for plan in plans:
        for address in plan.ports:
            if _is_free(address):
                continue
            holder = _holder(int(address.rpartition(":")[2]))
            if holder and holder.pid in pids:
                what = f"{pids[holder.pid].name} of an earlier run (pid {holder.pid}): `strongroom down` ends it"
            else:
                who = f"pid {holder.pid}, {holder.name()}" if holder else "another user's process"
                what = f"{who}: stop it, or choose other ports with --port-base"
            lines.append(f"{address}, which {plan.name} needs, is taken by {what}")
    return lines


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
