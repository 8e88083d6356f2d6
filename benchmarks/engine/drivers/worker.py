"""An inference worker as it runs in a stack, asked over its queue: the whole seat, without gateway, guard and audit.

Redis and the worker are processes of their own; the gateway's half of the queue and audit's tickets are made here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from strongroom.inference.v1 import inference_pb2 as pb

from benchmarks.engine.driving import Answer, drive, in_closed_loop
from benchmarks.engine.workload import CONTEXT_TOKENS, Ask
from benchmarks.local_service import LocalService, local_service
from services.audit.records.ticket import TicketKey
from services.inference.engine.seat import CANDIDATES, ENVIRONMENTS
from stack.ports import free_port_base
from stack.redis_server import find_redis_server, write_config
from streams.failures import QueueUnavailable
from streams.gateway import JobQueue
from streams.reply import Reply
from streams.seal import QueueKeys, load_key

READY_SECONDS = 900.0  # a first start may compile the model
ANSWER_SECONDS = 600.0
SETTLE_SECONDS, RETRY_SECONDS = 2.0, 0.02
ORIGIN = "dev.benchmark"
PREFIX = "STRONGROOM_INFERENCE_"

T = TypeVar("T")


def worker_environment(model: str, settings: Iterable[str]) -> dict[str, str]:
    """As in every row: 64 slots, the context that all have, no prefix kept. `settings` are NAME=VALUE."""
    fixed = {"context_tokens": str(CONTEXT_TOKENS), "slots": "64", "prefix_scope": "off"}
    named = {**fixed, **dict(each.split("=", 1) for each in settings)}
    return {"STRONGROOM_MODEL": model, **{f"{PREFIX}{name.upper()}": value for name, value in named.items()}}


class Callers:
    """Owns an event loop and its thread, on which the gateway's half of the queue goes on between plays."""

    def __init__(self, redis_url: str, keys: Path, model: str) -> None:
        self._model, self._boot = model, uuid4().hex
        self._tickets = TicketKey(load_key(keys / "ticket"), ORIGIN)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="queue", daemon=True).start()
        self._open = AsyncExitStack()
        self._queue = JobQueue(redis_url, QueueKeys(load_key(keys / "queue")), self._boot)
        self._await(self._started())

    def play(self, asks: Sequence[Ask], callers: int) -> list[Answer]:
        return self._await(in_closed_loop(asks, callers, self._asked))

    def awake(self) -> None:
        """Redis stood still, too: connections to it are given up, and made again, once everything goes on."""
        self._await(self._settled())

    async def _settled(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        await self._served()

    def close(self) -> None:
        self._await(self._open.aclose())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _started(self) -> None:
        await self._open.enter_async_context(self._queue)
        await self._served()

    async def _served(self) -> None:
        while not any(worker.model == self._model for worker in self._queue.workers):
            await asyncio.sleep(0.05)

    async def _asked(self, ask: Ask) -> Answer:
        answer, request_id = Answer(ask.id, time.perf_counter()), uuid4().hex
        try:
            async for delta in await self._submitted(self._job(ask, request_id)):
                if delta.token_ids and answer.first is None:
                    answer.first = time.perf_counter()
                answer.tokens += delta.token_ids
        finally:
            self._queue.forget(request_id)
        answer.ended, answer.count = time.perf_counter(), delta.output_tokens
        if delta.input_tokens != len(ask.prompt):
            raise RuntimeError(
                f"request {ask.id}: {delta.input_tokens} tokens, not {len(ask.prompt)}; {delta.finish} {delta.failure}"
            )
        return answer

    async def _submitted(self, job: pb.Job) -> Reply:
        """As a gateway's callers do it: again, where the queue is away."""
        while True:
            try:
                return await self._queue.submit(job)
            except QueueUnavailable:
                await asyncio.sleep(RETRY_SECONDS)

    def _job(self, ask: Ask, request_id: str) -> pb.Job:
        ends_ms = int((time.time() + ANSWER_SECONDS) * 1000)
        body = pb.JobBody(
            request_id=request_id,
            gateway_boot_id=self._boot,
            messages=[pb.Message(**turn) for turn in ask.messages],
            model=self._model,
            sampling=pb.Sampling(temperature=0, top_p=1, max_tokens=ask.tokens),
            tenant="benchmark",
            priority="interactive",
        )
        body.deadline_time.FromMilliseconds(ends_ms)
        told = body.SerializeToString()
        mac = self._tickets.mac(request_id, ends_ms, hashlib.sha256(told).digest())
        job = pb.Job(body=told, ticket=pb.Ticket(log_origin=ORIGIN, mac=mac))
        job.ticket.expire_time.FromMilliseconds(ends_ms)
        return job


@contextmanager
def redis_running(folder: Path) -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    address = f"127.0.0.1:{free_port_base()}"
    command = [str(find_redis_server(os.environ)), str(write_config(folder, address))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://{address}/0", process.pid
    finally:
        process.terminate()
        process.wait()


def python_of(settings: Iterable[str]) -> str:
    """An engine that lives apart brings its own."""
    engine = CANDIDATES[dict(each.split("=", 1) for each in settings).get("engine", "torch")]
    return str(ENVIRONMENTS / engine.environment / "bin" / "python") if engine.apart else sys.executable


@contextmanager
def worker_running(model: Path, settings: Sequence[str]) -> Iterator[tuple[LocalService, str, int]]:
    """With its Redis' URL and process."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        home = Path(folder)
        with redis_running(home / "redis") as (url, redis):
            environment = {**worker_environment(str(model), settings), "STRONGROOM_REDIS_URL": url}
            with local_service(
                "inference",
                home,
                python=python_of(settings),
                environment=environment,
                ready_seconds=READY_SECONDS,
                log=sys.stderr.fileno(),
            ) as service:
                yield service, url, redis


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    model, settings = Path(sys.argv[1]), sys.argv[2:]
    with (
        worker_running(model, settings) as (service, url, redis),
        closing(Callers(url, service.home / "keys", model.name)) as callers,
    ):
        drive(callers.play, [service.pid, redis], awake=callers.awake)


if __name__ == "__main__":
    main()
