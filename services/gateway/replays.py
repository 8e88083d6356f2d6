"""Replays over gRPC: what audit gives is run as any request is, and audit says what came of it."""

from __future__ import annotations

import asyncio

import grpc
from strongroom.audit.v1 import audit_pb2 as audit
from strongroom.audit.v1 import audit_pb2_grpc as audit_rpc
from strongroom.gateway.v1 import gateway_pb2 as pb

from chassis.canonical import canonical
from chassis.errors import from_rpc_error
from chassis.tracing import trace_id
from services.gateway.queue_client import QueueClient, Working
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.outcome import Broken
from services.gateway.requests.question import Caller
from services.gateway.requests.recorded import Recorded, recorded


class Replays:
    """Nothing of a request's text passes here but on its way from audit to the queue."""

    def __init__(self, stub: audit_rpc.AuditServiceStub, queue: QueueClient, conductor: Conductor) -> None:
        self._stub, self._queue, self._conductor = stub, queue, conductor

    async def run(self, permit: str, seconds: float) -> pb.ReplayResponse:
        """Ends with a judgement, or raises why nothing was run; the permit then stays good."""
        serving = [_serving(worker) for worker in self._queue.working()]
        try:
            taken = await self._stub.TakeReplay(audit.TakeReplayRequest(permit=permit, serving=serving))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if taken.HasField("judgement"):
            return _response(taken.judgement)
        life, ended = self._conductor.replay(_recorded(taken.material), trace_id(), seconds)
        try:
            last = (await life.all_events())[-1]
            await asyncio.shield(ended)
        finally:
            life.detach()
        if isinstance(last, Broken) and not life.accepted:
            raise last.error
        return _response(await self._finish(permit, life.terms.request_id))

    async def _finish(self, permit: str, request_id: str) -> audit.Judgement:
        asked = audit.FinishReplayRequest(permit=permit, replay_record_id=request_id)
        try:
            return (await self._stub.FinishReplay(asked)).judgement
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


def _recorded(material: audit.ReplayMaterial) -> Recorded:
    caller = Caller(material.party.tenant, material.party.caller)
    return recorded(material.record_id, material.sealed_with, caller, material.request_sent, material.parameters)


def _serving(worker: Working) -> audit.Serving:
    return audit.Serving(made_by=canonical(dict(worker.made_by)), adapters=worker.adapters)


def _response(judgement: audit.Judgement) -> pb.ReplayResponse:
    response = pb.ReplayResponse(
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        tokens=judgement.tokens,
        request_id=judgement.replay_record_id,
    )
    if judgement.HasField("token"):
        response.choice, response.token = judgement.choice, judgement.token
    return response
