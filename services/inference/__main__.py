"""An inference worker's composition root."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

from strongroom.audit.v1 import audit_pb2_grpc as audit_rpc
from strongroom.inference.v1 import inference_pb2_grpc as rpc

from chassis.client import connect
from chassis.essential import EXIT_BUG
from chassis.identity import load_credentials, service_token
from chassis.server import Health, serving, until_signalled
from chassis.span_export import export_spans
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.inference.acts import AuditedActs, AuditedCounts
from services.inference.engine.opening import open_engine
from services.inference.engine.protocol import Engine
from services.inference.metrics import InferenceMetrics
from services.inference.models.wheel import ModelUnavailable
from services.inference.pacing import PacedEngine
from services.inference.servicer import ALLOWED, NAME, InferenceServicer
from services.inference.settings import InferenceSettings
from services.inference.worker.observer import Observer
from services.inference.worker.worker import Seat, Worker
from streams.cancels import CancelReader
from streams.seal import KeyUnusable, QueueKeys, load_key
from streams.worker import WorkQueue

HEALTH_SECONDS = 0.5


async def main(settings: InferenceSettings) -> None:
    token = service_token(settings.keys_folder, "inference")
    known = load_credentials(settings.keys_folder)
    try:
        queue_keys = QueueKeys(load_key(settings.keys_folder / "queue"))
        ticket_key = load_key(settings.keys_folder / "ticket")
        engine = _engine(settings, token)
    except (KeyUnusable, ModelUnavailable, ValueError) as problem:
        raise CannotStart(str(problem)) from None
    seat = Seat(
        worker_id=settings.seat,
        boot_id=uuid4().hex,
        lease_seconds=settings.lease_seconds,
        stall_seconds=settings.stall_seconds,
    )
    queue = WorkQueue(settings.redis, engine.model.name, seat.worker_id, seat.boot_id, buckets=settings.tenant_buckets)
    audit = connect(settings.audit, token)
    metrics = InferenceMetrics()
    observer = Observer(metrics.stepped, metrics.first_token, metrics.ended)
    worker = Worker(
        seat,
        engine,
        queue,
        CancelReader(settings.redis),
        queue_keys,
        ticket_key,
        home=settings.home,
        observer=observer,
        acts=AuditedActs(audit_rpc.AuditServiceStub(audit)),
        audit=AuditedCounts(audit_rpc.AuditServiceStub(audit), seat.boot_id),
        prefix_scope=settings.prefix_scope,
    )
    metrics.watch(worker)
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(audit)
        opened.callback(export_spans("inference", settings.traces, token))
        await opened.enter_async_context(worker.running())
        health = Health()
        await opened.enter_async_context(
            serving_http(settings.own_http_address, lambda: worker.not_ready, [metrics.route()])
        )
        await opened.enter_async_context(
            serving(
                settings.own_address,
                lambda server: rpc.add_InferenceServiceServicer_to_server(InferenceServicer(worker), server),
                known=known,
                allowed=ALLOWED,
                health=health,
                reflected=[NAME] if settings.reflection else [],
            )
        )
        watching = asyncio.create_task(_watch(health, worker))
        opened.callback(watching.cancel)
        await _until_over(worker)
        await worker.drain(0 if worker.engine_died.is_set() else settings.drain_seconds)
    if worker.engine_died.is_set():
        raise SystemExit(EXIT_BUG)  # a supervisor starts it again, with a new engine


def _engine(settings: InferenceSettings, token: str) -> Engine:
    chosen = replace(settings.engine_settings(), traces_address=settings.traces, traces_token=token)
    engine = open_engine(chosen, settings.home)
    return PacedEngine(engine, settings.max_steps_per_second) if settings.max_steps_per_second else engine


async def _until_over(worker: Worker) -> None:
    over = {asyncio.create_task(until_signalled()), asyncio.create_task(worker.engine_died.wait())}
    _, pending = await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()


async def _watch(health: Health, worker: Worker) -> None:
    while True:
        await health.set(worker.not_ready)
        await asyncio.sleep(HEALTH_SECONDS)


if __name__ == "__main__":
    run("inference", InferenceSettings, main)
