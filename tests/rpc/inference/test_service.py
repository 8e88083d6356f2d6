"""The gRPC face of a worker, over a real port."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
from starlette.applications import Starlette
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.metrics import InferenceMetrics
from streams.jobs import seal_job


@pytest.fixture
async def service(redis_url, worker, serve):
    async with worker(redis_url, steps_per_second=50, slots=3) as running, serve(running) as service:
        yield service


def bearing(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_get_worker_describes_it(service) -> None:
    worker = (await service.GetWorker(pb.GetWorkerRequest(), metadata=bearing("gateway-token"))).worker
    assert (worker.worker_id, worker.model, worker.engine, worker.slots) == ("worker-0", "echo", "echo", 3)
    assert worker.context_tokens == 8192
    assert len(worker.template_digest) == 32


async def test_drain_hands_back_what_runs(service, redis_url, gateway, make_job) -> None:
    async with gateway(redis_url) as queue:
        reply = await queue.submit(make_job(text="word " * 200))
        await reply.next()
        answer = await service.Drain(pb.DrainRequest(grace_seconds=0), metadata=bearing("operator-token"))
        again = await service.Drain(pb.DrainRequest(grace_seconds=0), metadata=bearing("operator-token"))
    assert (answer.handed_back, again.handed_back) == (1, 0)


@pytest.mark.parametrize(
    ("token", "code"),
    [("gateway-token", grpc.StatusCode.PERMISSION_DENIED), ("nobody", grpc.StatusCode.UNAUTHENTICATED)],
)
async def test_only_an_operator_drains(service, token, code) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.Drain(pb.DrainRequest(), metadata=bearing(token))
    assert caught.value.code() is code


async def test_invariant_10_what_is_refused_is_counted_and_logged_without_content(
    redis_url, shared_redis, worker, make_job, queue_keys, caplog
) -> None:
    """Fails if `Intake._believed` drops an entry and counts nothing."""
    job = seal_job(queue_keys, make_job(text="canary", key=b"f" * 32))
    async with worker(redis_url) as running:
        metrics = InferenceMetrics()
        metrics.watch(running)
        app = Starlette(routes=[metrics.route()])
        with shared_redis.client() as redis:
            redis.xadd(job.work, {"id": job.request_id, "k": job.key_id, "job": job.sealed})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker") as client:
            async with asyncio.timeout(5):
                while 'event="refused_ticket_forged"} 1.0\n' not in (text := (await client.get("/metrics")).text):
                    await asyncio.sleep(0.01)
    assert "strongroom_inference_slots 8.0\n" in text
    assert "refused_ticket_forged" in caplog.text
    assert "canary" not in caplog.text + text
