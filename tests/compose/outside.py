"""Something outside to be reached, or not: a network namespace that stands for the world, and a port of the host's.

The namespace knows no way back to private addresses, as the world does not: only what is translated is answered there.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from project import require, run, until

NAMESPACE = "strongroom-outside"
OUR_END, THEIR_END = "sr-here", "sr-there"
HERE, THERE = "198.51.100.1", "198.51.100.2"  # TEST-NET-2 of RFC 5737: nobody's
PORT = 4433

LISTEN = f"""
import socket
server = socket.create_server(("{THERE}", {PORT}))
while True:
    server.accept()[0].close()
"""


@contextmanager
def outside() -> Iterator[tuple[str, int]]:
    """An address that this machine routes to, and that answers."""
    _clear()
    try:
        _ip("netns", "add", NAMESPACE)
        _ip("link", "add", OUR_END, "type", "veth", "peer", "name", THEIR_END, "netns", NAMESPACE)
        _ip("addr", "add", f"{HERE}/24", "dev", OUR_END)
        _ip("link", "set", OUR_END, "up")
        _ip("-n", NAMESPACE, "addr", "add", f"{THERE}/24", "dev", THEIR_END)
        _ip("-n", NAMESPACE, "link", "set", THEIR_END, "up")
        listener = subprocess.Popen(["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", LISTEN])
        try:
            until("the listener outside answers", _answers, 20)
            yield THERE, PORT
        finally:
            listener.kill()
            listener.wait()
    finally:
        _clear()


@contextmanager
def host_port(address: str) -> Iterator[tuple[str, int]]:
    """A port of the host's, on one of the addresses that it has among containers."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server((address, 0)))
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield address, server.getsockname()[1]


def _accept(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:  # closed
            return


def _answers() -> bool:
    try:
        socket.create_connection((THERE, PORT), 1).close()
    except OSError:
        return False
    return True


def _ip(*arguments: str) -> None:
    done = run("ip", *arguments)
    require(done.returncode == 0, f"ip {' '.join(arguments)} (as uid {os.geteuid()}): {done.stderr}")


def _clear() -> None:
    """Also what a run that was killed left behind; the other end goes with the namespace."""
    run("ip", "netns", "del", NAMESPACE)
    run("ip", "link", "del", OUR_END)
