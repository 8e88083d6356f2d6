"""Replays over gRPC: a permit for whoever asks, what a gateway runs with it, and the judgement. No answer is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc
import orjson
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import FailedPrecondition, InvalidArgument
from chassis.identity import current_principal
from services.audit.asked import no_record, record_id_of, required_reason
from services.audit.recording import ActRecorder
from services.audit.replays.generation import Maker
from services.audit.replays.judging import Judgement, Serving
from services.audit.replays.permits import Permit, Permits
from services.audit.replays.replays import Material, Replays

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")
MAX_SERVING = 1_000
_GATEWAY = frozenset({"service:gateway"})
_SERVICE = "/strongroom.audit.v1.AuditService"
# Who may see no text may still ask whether a model is the same.
_ASKING = frozenset({"role:reviewer", "role:auditor", "role:operator", "role:administrator"})
REPLAY_ALLOWED: Mapping[str, frozenset[str]] = {
    f"{_SERVICE}/PrepareReplay": _ASKING,
    f"{_SERVICE}/TakeReplay": _GATEWAY,
    f"{_SERVICE}/FinishReplay": _GATEWAY,
}


class ReplayMethods(rpc.AuditServiceServicer):
    """The part of the service that has requests run again."""

    def __init__(self, replays: Replays, acts: ActRecorder) -> None:
        self._replays, self._replay_acts, self._permits = replays, acts, Permits()

    async def PrepareReplay(self, request: pb.PrepareReplayRequest, context: Context) -> pb.PrepareReplayResponse:
        record_id, reason = record_id_of(request.record_id), required_reason(request.reason)
        judgement = await _found(lambda: self._replays.obstacle(record_id))
        person = current_principal.get()
        await self._replay_acts.of_person(person, "REPLAY_STARTED", record_id, reason=reason)
        permit = self._permits.give(record_id, person, reason)
        if judgement is None:
            return pb.PrepareReplayResponse(permit=permit.token)
        return pb.PrepareReplayResponse(judgement=await self._judged(permit, judgement))

    async def TakeReplay(self, request: pb.TakeReplayRequest, context: Context) -> pb.TakeReplayResponse:
        permit, serving = self._permit(request.permit), _serving(request)
        found = await _found(lambda: self._replays.material(permit.record_id, serving))
        if isinstance(found, Judgement):
            return pb.TakeReplayResponse(judgement=await self._judged(permit, found))
        return pb.TakeReplayResponse(material=_material(permit, found))

    async def FinishReplay(self, request: pb.FinishReplayRequest, context: Context) -> pb.FinishReplayResponse:
        permit, replay_id = self._permit(request.permit), record_id_of(request.replay_record_id)
        found = await _found(lambda: self._replays.judgement(permit.record_id, replay_id))
        return pb.FinishReplayResponse(judgement=await self._judged(permit, found, replay_id))

    def _permit(self, token: str) -> Permit:
        permit = self._permits.find(token)
        if permit is None:
            raise FailedPrecondition(
                "this permit is void, spent, or was given before audit's last start: ask for the replay again",
                reason="PERMIT_VOID",
            )
        return permit

    async def _judged(self, permit: Permit, found: Judgement, replay_id: str = "") -> pb.Judgement:
        """Once it is in the log, and not before."""
        told = pb.Judgement(
            verdict=found.verdict, reasons=found.reasons, tokens=found.tokens, replay_record_id=replay_id
        )
        place: dict[str, object] = {}
        if found.choice is not None and found.token is not None:
            told.choice, told.token = found.choice, found.token
            place = {"choice": found.choice, "token": found.token}
        await self._replay_acts.of_person(
            permit.person,
            "REPLAYED",
            permit.record_id,
            reason=permit.reason,
            verdict=found.verdict,
            reasons=found.reasons,
            tokens=found.tokens,
            replay=replay_id,
            **place,
        )
        self._permits.spend(permit)
        return told


async def _found(look: Callable[[], T]) -> T:
    """Read by a thread: the journal is on a disk."""
    try:
        return await asyncio.to_thread(look)
    except LookupError:
        raise no_record() from None


def _serving(request: pb.TakeReplayRequest) -> list[Serving]:
    if len(request.serving) > MAX_SERVING:
        raise InvalidArgument(f"serving has more than {MAX_SERVING} workers", field="serving")
    return [
        Serving(_maker(one.made_by), {name: digest.hex() for name, digest in one.adapters.items()})
        for one in request.serving
    ]


def _maker(made_by: bytes) -> Maker:
    try:
        told = orjson.loads(made_by)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise InvalidArgument("made_by is not one JSON object: send what the worker told of itself", field="serving")
    return told


def _material(permit: Permit, found: Material) -> pb.ReplayMaterial:
    return pb.ReplayMaterial(
        record_id=permit.record_id,
        party=pb.Party(tenant=found.tenant, caller=permit.person.name),
        sealed_with=found.sealed_with,
        request_sent=found.request_sent,
        parameters=found.parameters,
    )
