"""A worker in this process or in one of its own, on a real Redis, with the echo engine; and a gateway's half."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from strongroom.inference.v1 import inference_pb2_grpc as rpc

from chassis.identity import Principal, digest
from chassis.server import serving
from services.inference.engine.echo import EchoEngine
from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import Engine
from services.inference.models.device import Device
from services.inference.models.prompt import Prompt
from services.inference.pacing import PacedEngine
from services.inference.servicer import ALLOWED, InferenceServicer
from services.inference.worker.worker import Seat, Worker
from stack.keys import make_development_keys
from streams.cancels import CancelReader
from streams.gateway import JobQueue
from streams.seal import QueueKeys
from streams.worker import WorkQueue
from tests.rpc.inference.adapting import Acts, saved

KNOWN = {
    digest("gateway-token"): Principal(kind="service", name="gateway"),
    digest("operator-token"): Principal(kind="person", name="op", tenant="t", roles=frozenset({"operator"})),
}


@pytest.fixture
def serve() -> Callable[[Worker], Any]:
    """`serve(worker)`: a caller's stub for that worker's own service, on a real port."""

    @asynccontextmanager
    async def running(worker: Worker) -> AsyncIterator[Any]:
        servicer = InferenceServicer(worker)
        async with (
            serving(
                "127.0.0.1:0",
                lambda server: rpc.add_InferenceServiceServicer_to_server(servicer, server),
                known=KNOWN,
                allowed=ALLOWED,
                grace_seconds=0,
            ) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield rpc.InferenceServiceStub(channel)

    return running


@pytest.fixture
def queue_keys(queue_key: bytes) -> QueueKeys:
    return QueueKeys(queue_key)


@pytest.fixture
def gateway(queue_keys: QueueKeys) -> Callable[..., Any]:
    @asynccontextmanager
    async def running(url: str, boot: str = "gateway-boot", **settings: Any) -> AsyncIterator[JobQueue]:
        async with JobQueue(url, queue_keys, boot, **settings) as queue:
            yield queue

    return running


@pytest.fixture
def worker(queue_keys: QueueKeys, ticket_key: bytes) -> Callable[..., Any]:
    """A worker on this event loop; its engine has its thread."""

    @asynccontextmanager
    async def running(
        url: str,
        *,
        seat: str = "worker-0",
        engine: Engine | None = None,
        steps_per_second: float = 0,
        slots: int = 8,
        claiming: type[WorkQueue] = WorkQueue,
        home: Path = Path(),
        acts: Any = None,
        prefix_scope: str = "tenant",
        **settings: Any,
    ) -> AsyncIterator[Worker]:
        made = engine or EchoEngine(slots=slots)
        paced = PacedEngine(made, steps_per_second) if steps_per_second else made
        queue = claiming(url, made.model.name, seat, f"boot-of-{seat}")
        who = Seat(worker_id=seat, boot_id=f"boot-of-{seat}", **settings)
        async with Worker(
            who,
            paced,
            queue,
            CancelReader(url),
            queue_keys,
            ticket_key,
            home=home,
            acts=acts,
            prefix_scope=prefix_scope,
        ).running() as made_worker:
            yield made_worker

    return running


@pytest.fixture
def torch_engine(tiny_model: Callable[[str], Any], tiny_tokenizer: Any) -> Callable[..., Any]:
    """An engine around the tiny model, which is served under the name that jobs ask for."""

    def make(name: str = "echo") -> Any:
        import torch

        from services.inference.engine.torch_opening import assemble
        from services.inference.models.loading import LoadedModel

        model = LoadedModel(
            model=copy.deepcopy(tiny_model("llama")), prompt=Prompt(tiny_tokenizer), name=name, revision="", digest="",
            device=Device(name="cpu", reason="test"), dtype=torch.float32, parameters=0,
        )  # fmt: skip
        return assemble(model, EngineSettings(slots=2, context_tokens=600))

    return make


class WorkerProcess:
    """`python -m services.inference` with the echo engine."""

    def __init__(self, environment: dict[str, str], log: Path, http: str) -> None:
        self._environment, self._log, self._http = environment, log, http
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.inference"], env=self._environment, stderr=log, stdout=log
            )

    def await_ready(self) -> None:
        for _ in range(2400):  # an engine of its own takes its time on a busy machine
            assert self._process
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"http://{self._http}/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(self._log.read_text()[-2000:])

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process
        return self._process.wait(timeout=20)

    def end(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def worker_process(tmp_path: Path, queue_key: bytes, ticket_key: bytes, free_port_base: int) -> Iterator[Any]:
    home = tmp_path / "home"
    make_development_keys(home / "keys")
    for name, secret in (("queue", queue_key), ("ticket", ticket_key)):
        (home / "keys" / name).write_bytes(secret)
    started: list[WorkerProcess] = []

    def make(url: str, number: int = 0, **settings: object) -> WorkerProcess:
        environment = {
            **os.environ,
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_REDIS_URL": url,
            "STRONGROOM_PORT_BASE": str(free_port_base),
            "STRONGROOM_TRACES_ADDRESS": "off",
            "STRONGROOM_INFERENCE_ENGINE": "echo",
            "STRONGROOM_INFERENCE_WORKER": str(number),
            **{f"STRONGROOM_INFERENCE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        port = free_port_base + (21 + 2 * number if number else 12)
        process = WorkerProcess(environment, tmp_path / f"worker-{number}.log", f"127.0.0.1:{port}")
        process.start()
        started.append(process)
        return process

    yield make
    for process in started:
        process.end()


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    saved(tmp_path, "tone", seed=0)
    return tmp_path


@pytest.fixture
def start(redis_url: str, worker: Any, serve: Any, home: Path, torch_engine: Callable[..., Any], acts: Acts) -> Any:
    """A worker around the tiny model, on the same home each time, and its service."""

    @asynccontextmanager
    async def started(model_name: str = "echo", engine: Any = None) -> AsyncIterator[Any]:
        async with (
            worker(redis_url, engine=engine or torch_engine(model_name), home=home, acts=acts) as running,
            serve(running) as service,
        ):
            yield service

    return started


@pytest.fixture
async def service(start: Any) -> AsyncIterator[Any]:
    async with start() as service:
        yield service
