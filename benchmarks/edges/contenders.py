"""What stands side by side: our whole stack, the two peers before the upstream, and the upstream alone as the floor."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil

from benchmarks.edges.load import ask_once
from benchmarks.edges.peers import LITELLM, PORTKEY, Peer
from benchmarks.local_stack import local_stack

WORDS = "vault ledger audit prompt answer teller branch credit margin futures forward option hedge swap bond yield"
ANSWER_CHARACTERS, PROMPT_CHARACTERS = 256, 1000
# The echo engine answers with the prompt's words, one a step: a first word of 256 characters is an answer at once.
ANSWER = "-".join(WORDS.split() * 3)[:ANSWER_CHARACTERS]
PROMPT = f"{ANSWER} {f'{WORDS}. ' * 12}"[:PROMPT_CHARACTERS]
START_SECONDS = 120.0


@dataclass(frozen=True)
class Contender:
    """Something that answers on a port of this machine."""

    name: str
    port: int
    request: bytes  # whole, head and body
    cpu_seconds: Callable[[], dict[str, float]]  # user and kernel time so far, by process


def request(headers: dict[str, str], **more: object) -> bytes:
    """What all are asked."""
    return chat_completion(PROMPT, headers, **more)


def chat_completion(prompt: str, headers: dict[str, str], **more: object) -> bytes:
    """A chat completion as it goes over the wire."""
    body = json.dumps({"messages": [{"role": "user", "content": prompt}], **more}).encode()
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + body


@contextmanager
def contenders(slots: int) -> Iterator[list[Contender]]:
    """All of them, running and answering."""
    with ExitStack() as opened:
        bare = opened.enter_context(upstream())
        peers = [opened.enter_context(_peer(peer, bare.port)) for peer in (LITELLM, PORTKEY)]
        ours = opened.enter_context(_ours(slots))
        for each in (bare, *peers, ours):
            _wait_until_it_answers(each)
        yield [bare, ours, *peers]


@contextmanager
def upstream() -> Iterator[Contender]:
    """Answers at once."""
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.edges.upstream", str(port), ANSWER])
    with _ended(process):
        yield Contender("upstream", port, request({}, model="instant"), lambda: _cpu("upstream", process.pid))


@contextmanager
def _peer(peer: Peer, upstream: int) -> Iterator[Contender]:
    peer.prepare()
    port, url = _free_port(), f"http://127.0.0.1:{upstream}/v1"
    process = peer.start(port, url)
    with _ended(process):
        asked = request(peer.headers(url), model="instant")
        yield Contender(peer.name, port, asked, lambda: _cpu(peer.name, process.pid))


@contextmanager
def _ours(slots: int) -> Iterator[Contender]:
    with local_stack("--engine", "echo", environment={"STRONGROOM_INFERENCE_SLOTS": str(slots)}) as stack:
        headers = {"authorization": f"Bearer {stack.api_key}"}
        asked = request(headers, max_completion_tokens=1)
        yield Contender("strongroom", stack.port_base + 10, asked, stack.cpu_seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu(name: str, pid: int) -> dict[str, float]:
    """A process with its children."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return {name: sum(time.user + time.system for time in times)}


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_it_answers(contender: Contender) -> None:
    until, heard = time.monotonic() + START_SECONDS, b""
    while ANSWER.encode() not in heard:
        if time.monotonic() > until:
            raise RuntimeError(f"{contender.name} did not answer; last heard: {heard[:500]!r}")
        time.sleep(0.5)
        heard = ask_once(contender.port, contender.request)
