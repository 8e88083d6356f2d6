"""Adapters through the worker's own service: loaded while it serves, asked for by a job, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import uuid4

import grpc
import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from chassis.failures import Unimplemented
from chassis.identity import Principal
from services.inference.engine.protocol import Work
from services.inference.pacing import PacedEngine
from tests.rpc.inference.adapting import OPERATOR, Acts, listed, load, unload


class SlowToPrepare(PacedEngine):
    """Compiles no grammar until it is told to."""

    began, go_on = threading.Event(), threading.Event()

    def prepare(self, work: Work) -> None:
        self.began.set()
        self.go_on.wait(30)
        super().prepare(work)


async def answered(queue: Any, job: pb.Job) -> tuple[list[int], str]:
    reply = await queue.submit(job)
    ids: list[int] = []
    while True:
        for delta in await reply.next():
            ids += delta.token_ids
            if delta.finish:
                return ids, delta.failure


def job_with(make_job: Any, adapter: str, adapter_digest: bytes = b"", **more: Any) -> pb.Job:
    """Each a request of its own: a ticket is good for one."""
    job: pb.Job = make_job(
        f"r-{uuid4().hex}", text="hello", max_tokens=8, adapter=adapter, adapter_digest=adapter_digest, **more
    )
    return job


async def test_a_job_is_run_with_the_adapter_it_names(
    service: Any, redis_url: str, gateway: Any, make_job: Any
) -> None:
    async with gateway(redis_url) as queue:
        assert await answered(queue, job_with(make_job, "tone")) == ([], "ADAPTER_NOT_SERVED")
        plain, _ = await answered(queue, job_with(make_job, ""))
        loaded = await load(service, "tone")
        assert (loaded.name, loaded.rank, loaded.layers, len(loaded.digest)) == ("tone", 4, 1, 32)
        everything = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)
        assert list(everything.adapters) == [loaded]
        toned, failure = await answered(queue, job_with(make_job, "tone", loaded.digest))
        assert not failure
        assert toned != plain
        assert await answered(queue, job_with(make_job, "tone", b"x" * 32)) == ([], "ADAPTER_NOT_SERVED")
        assert (await answered(queue, job_with(make_job, "")))[0] == plain
    worker = (await service.GetWorker(pb.GetWorkerRequest(), metadata=OPERATOR)).worker
    assert list(worker.adapters) == [loaded]
    await service.UnloadAdapter(pb.UnloadAdapterRequest(name="tone"), metadata=OPERATOR)
    assert not (await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)).adapters


@pytest.mark.parametrize(
    ("name", "fields", "code", "said"),
    [
        ("../tone", {}, "FAILED_PRECONDITION", "letters, digits"),
        ("absent", {}, "FAILED_PRECONDITION", "HOME/adapters/absent has no adapter_config.json"),
        ("tone", {"digest": b"x" * 32}, "FAILED_PRECONDITION", "is not the one asked for"),
        ("tone", {"digest": b"x"}, "INVALID_ARGUMENT", "32 bytes"),
    ],
)
async def test_what_cannot_be_loaded_says_why(
    service: Any, name: str, fields: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await load(service, name, **fields)
    assert (caught.value.code().name, said in (caught.value.details() or "")) == (code, True)


async def test_only_an_operator_changes_what_is_loaded(service: Any) -> None:
    for call, request in (
        (service.LoadAdapter, pb.LoadAdapterRequest(name="tone")),
        (service.UnloadAdapter, pb.UnloadAdapterRequest(name="tone")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request, metadata=(("authorization", "Bearer gateway-token"),))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_engine_without_adapters_says_so(redis_url: str, worker: Any) -> None:
    async with worker(redis_url) as running:
        with pytest.raises(Unimplemented, match="echo runs no adapters"):
            await running.adapters.load("tone", b"", Principal("person", "op"))


async def test_who_loads_and_unloads_is_recorded(service: Any, acts: Acts) -> None:
    loaded = await load(service, "tone")
    await unload(service, "tone")
    detail = {"by": "op", "tenant": "t", "worker": "worker-0", "digest": loaded.digest.hex(), "model": "echo"}
    assert acts.recorded == [("ADAPTER_LOADED", "tone", detail), ("ADAPTER_UNLOADED", "tone", detail)]


async def test_invariant_7_what_cannot_be_recorded_is_not_done(start: Any, acts: Acts) -> None:
    """Fails if `_settle` is called after `loaded` changes, or the list is committed before the act."""
    async with start() as service:
        acts.away = True
        with pytest.raises(grpc.aio.AioRpcError, match="audit is away"):
            await load(service, "tone")
        assert await listed(service) == ([], [])
        acts.away = False
        await load(service, "tone")
        acts.away = True
        with pytest.raises(grpc.aio.AioRpcError, match="audit is away"):
            await unload(service, "tone")
        assert await listed(service) == (["tone"], [])
        with pytest.raises(grpc.aio.AioRpcError, match="unload it first"):  # the engine has it as well
            await load(service, "tone")
    async with start() as service:
        assert await listed(service) == (["tone"], [])
    assert len(acts.recorded) == 1


@pytest.mark.parametrize(("refused", "failure"), [(True, ""), (False, "ADAPTER_NOT_SERVED")])
async def test_a_job_that_comes_during_an_unload_waits_until_it_is_decided(
    service: Any, acts: Acts, redis_url: str, gateway: Any, make_job: Any, refused: bool, failure: str
) -> None:
    """Fails if the intake does not ask `undecided`, or the adapter leaves the engine before audit's answer."""
    await load(service, "tone")
    acts.away = refused
    async with gateway(redis_url) as queue:
        async with acts.undecided(unload(service, "tone")) as unloading:
            early = asyncio.create_task(answered(queue, job_with(make_job, "tone")))
            # Claimed after it, so that it was looked at.
            assert (await answered(queue, job_with(make_job, "")))[1] == ""
            assert not early.done() and (await listed(service))[0] == ["tone"]
        assert (unloading.exception() is not None) is refused
        assert (await asyncio.wait_for(early, 30))[1] == failure


async def test_a_request_that_is_not_in_the_engine_yet_is_one_that_runs(
    start: Any, torch_engine: Any, redis_url: str, gateway: Any, make_job: Any
) -> None:
    """Its grammar is being compiled. Fails if only what the engine holds counts as a use."""
    engine = SlowToPrepare(torch_engine(), 1000)
    async with start(engine=engine) as service, gateway(redis_url) as queue:
        await load(service, "tone")
        running = asyncio.create_task(answered(queue, job_with(make_job, "tone", regex="[a-z]+")))
        assert await asyncio.to_thread(engine.began.wait, 30)
        with pytest.raises(grpc.aio.AioRpcError, match="1 requests run with adapter 'tone'"):
            await unload(service, "tone")
        engine.go_on.set()
        assert (await asyncio.wait_for(running, 30))[1] == ""
        await unload(service, "tone")
