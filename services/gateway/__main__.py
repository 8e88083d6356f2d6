"""The gateway's composition root."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import uuid4

from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from chassis.identity import load_credentials, service_token
from chassis.sampling import Sampler
from chassis.server import Health, serving, until_signalled
from chassis.span_export import export_spans
from chassis.start import CannotStart, run
from chassis.web import serving_http
from services.gateway.asking import Deadlines
from services.gateway.audit_client import AuditClient
from services.gateway.edge.routes import PREFIX, EdgeApp
from services.gateway.grammar_check import GrammarCheck
from services.gateway.guard_client import GuardClient
from services.gateway.metrics import GatewayMetrics
from services.gateway.queue_client import QueueClient
from services.gateway.readiness import watching
from services.gateway.replays import Replays
from services.gateway.requests.account import Observer
from services.gateway.requests.admission import Admission
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.question import Profile
from services.gateway.requests.rejections import Rejections
from services.gateway.requests.terms import Neighbours
from services.gateway.servicer import ALLOWED, MAX_CALL_BYTES, GatewayServicer
from services.gateway.settings import GatewaySettings
from streams.gateway import JobQueue
from streams.seal import KeyUnusable, QueueKeys, load_key

NAME = "strongroom.gateway.v1.GatewayService"


async def main(settings: GatewaySettings) -> None:
    boot_id = uuid4().hex
    token = service_token(settings.keys_folder, "gateway")
    known = load_credentials(settings.keys_folder)
    try:
        queue_keys = QueueKeys(load_key(settings.keys_folder / "queue"))
    except KeyUnusable as problem:
        raise CannotStart(str(problem)) from None
    flush_spans = export_spans("gateway", settings.traces, token, Sampler(settings.tracing))
    async with AsyncExitStack() as opened:
        opened.callback(flush_spans)
        guard = await GuardClient.connected(opened, settings.guards, token)
        audit = await AuditClient.connected(opened, settings.audit, token, boot_id, guard.policy)
        streams = JobQueue(settings.redis, queue_keys, boot_id, bound=settings.max_queued)
        queue = QueueClient(await opened.enter_async_context(streams), boot_id)
        metrics, admission = GatewayMetrics(), Admission(settings.max_in_flight)
        metrics.watch(admission, guard, audit, streams)
        grammars = await opened.enter_async_context(GrammarCheck().running())
        conductor = Conductor(
            Neighbours(guard, audit, queue),
            admission,
            Rejections(audit.reject),
            settings.default_model,
            Profile(),
            Observer(metrics.ended, metrics.turned_away),
            grammars,
            settings.choices,
        )
        health = Health()
        deadlines = Deadlines(settings.default_deadline_seconds, settings.max_deadline_seconds)
        servicer = GatewayServicer(conductor, audit, Replays(audit.stub, queue, conductor), deadlines)
        edge = EdgeApp(conductor, known, deadlines)
        await opened.enter_async_context(
            serving_http(
                settings.http_address("gateway"), lambda: health.reason, [metrics.route()], apart=(PREFIX, edge)
            )
        )
        await opened.enter_async_context(
            serving(
                settings.address("gateway"),
                lambda server: rpc.add_GatewayServiceServicer_to_server(servicer, server),
                known=known,
                allowed=ALLOWED,
                health=health,
                reflected=[NAME] if settings.reflection else [],
                default_deadline_seconds=settings.default_deadline_seconds,
                max_message_bytes=MAX_CALL_BYTES,
                grace_seconds=settings.drain_seconds,
                from_outside=True,
            )
        )
        # On the way out, in this order: nobody is sent here any more, nothing new starts, what runs may end.
        opened.push_async_callback(conductor.drain, settings.drain_seconds)
        opened.push_async_callback(health.set, "stopping")
        await opened.enter_async_context(watching(health, guard, audit, queue))
        await until_signalled()


if __name__ == "__main__":
    run("gateway", GatewaySettings, main)
