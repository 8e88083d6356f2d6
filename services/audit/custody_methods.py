"""Custody over gRPC: erasure, holds, the provider's keys. For administrators, who read no record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.failures import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from chassis.identity import current_principal
from services.audit.custody.custodian import Custodian
from services.audit.custody.decisions import Custody
from services.audit.custody.orders import Asked, CustodyRefused, Erase, NothingHeld, Scope, TooMany
from services.audit.records import entries as core
from services.audit.sealing.provider import KeyUnusable

Context = grpc.aio.ServicerContext[Any, Any]
_ADMINISTRATOR = frozenset({"role:administrator"})
CUSTODY_METHODS = ("Erase", "PlaceHold", "LiftHold", "RotateProviderKey", "DestroyProviderKeys", "GetCustody")
CUSTODY_ALLOWED = {f"/strongroom.audit.v1.AuditService/{method}": _ADMINISTRATOR for method in CUSTODY_METHODS}
MAX_NAME, MAX_REASON = 4_096, 512
BUSY_SECONDS = 60.0


class CustodyMethods(rpc.AuditServiceServicer):
    """The part of the service that changes what can be read."""

    def __init__(self, custodian: Custodian, custody: Custody) -> None:
        self._custodian, self._custody = custodian, custody

    async def Erase(self, request: pb.EraseRequest, context: Context) -> pb.EraseResponse:
        scope, asked = self._scope(request), self._asked(request.reason)
        if len(request.basis) > MAX_REASON:
            raise InvalidArgument(f"basis has more than {MAX_REASON} characters", field="basis")
        with _refusals():
            order, done = await self._custodian.erase(scope, asked, request.basis)
        return pb.EraseResponse(
            erasure_id=order.id,
            keys=len(order.key_ids),
            done=done,
            open_records=0 if done else self._custodian.open_records(order),
            subject_pseudonym=scope.subject,
            provider_key_id=self._custody.keys.provider_key,
        )

    async def PlaceHold(self, request: pb.PlaceHoldRequest, context: Context) -> pb.PlaceHoldResponse:
        with _refusals():
            hold = await self._custodian.place_hold(self._scope(request), self._asked(request.reason))
        return pb.PlaceHoldResponse(hold_id=hold.id)

    async def LiftHold(self, request: pb.LiftHoldRequest, context: Context) -> pb.LiftHoldResponse:
        with _refusals():
            await self._custodian.lift_hold(request.hold_id, self._asked(request.reason))
        return pb.LiftHoldResponse()

    async def RotateProviderKey(
        self, request: pb.RotateProviderKeyRequest, context: Context
    ) -> pb.RotateProviderKeyResponse:
        self._check_no_backup()
        with _refusals():
            order, done = await self._custodian.rotate(self._asked(request.reason))
        return pb.RotateProviderKeyResponse(key_id=order.id, retired_key_id=order.before, done=done)

    async def DestroyProviderKeys(
        self, request: pb.DestroyProviderKeysRequest, context: Context
    ) -> pb.DestroyProviderKeysResponse:
        self._check_no_backup()
        with _refusals():
            destroyed = await self._custodian.destroy_provider_keys(self._asked(request.reason))
        return pb.DestroyProviderKeysResponse(key_ids=destroyed)

    async def GetCustody(self, request: pb.GetCustodyRequest, context: Context) -> pb.GetCustodyResponse:
        book, keys = self._custody.book, self._custody.keys
        response = pb.GetCustodyResponse(
            provider=keys.provider.kind,
            provider_key_id=keys.provider_key,
            retired_key_ids=keys.retired_provider_keys(),
        )
        for hold in list(book.holds.values()):
            held = response.holds.add(hold_id=hold.id, tenant=hold.scope.tenant, subject_pseudonym=hold.scope.subject)
            _attribute(held, hold)
        for order in list(book.orders.values()):
            ordered = response.orders.add(order_id=order.id, action=type(order).__name__.upper())
            if isinstance(order, Erase):
                ordered.tenant, ordered.subject_pseudonym = order.scope
            _attribute(ordered, order)
        return response

    def _scope(self, request: pb.EraseRequest | pb.PlaceHoldRequest) -> Scope:
        if not request.tenant:
            raise InvalidArgument("tenant must not be empty", field="tenant")
        for field in ("tenant", "subject"):
            if len(getattr(request, field)) > MAX_NAME:
                raise InvalidArgument(f"{field} has more than {MAX_NAME} characters", field=field)
        if bool(request.subject) == request.whole_tenant:
            raise InvalidArgument("name a subject or set whole_tenant, and not both", field="subject")
        if request.whole_tenant:
            return Scope(request.tenant)
        return Scope(request.tenant, self._custody.keys.pseudonym(request.tenant, request.subject))

    def _asked(self, reason: str) -> Asked:
        if not 0 < len(reason.strip()) <= MAX_REASON:
            raise InvalidArgument(f"reason must have 1 to {MAX_REASON} characters", field="reason")
        person = current_principal.get()
        return self._custodian.asked(person.name, person.tenant, reason)

    def _check_no_backup(self) -> None:
        if self._custodian.key_files.locked():
            raise ResourceExhausted(
                "the wrapped keys are being copied by a backup, or changed by an order: wait until that ends",
                reason="KEYS_IN_USE",
                retry_after_seconds=BUSY_SECONDS,
            )


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except NothingHeld as refused:
        raise NotFound(str(refused), reason=refused.reason) from None
    except TooMany as refused:
        raise ResourceExhausted(str(refused), reason=refused.reason) from None
    except CustodyRefused as refused:
        raise FailedPrecondition(str(refused), reason=refused.reason) from None
    except KeyUnusable as unusable:
        raise FailedPrecondition(str(unusable), reason="KEY_UNUSABLE") from None
    except core.Busy:
        raise ResourceExhausted("too many entries wait", reason="JOURNAL_BUSY", retry_after_seconds=1.0) from None
    except core.AppendRefused as refused:
        raise ResourceExhausted(str(refused), reason=refused.refusal.name, retry_after_seconds=BUSY_SECONDS) from None
    except core.Unavailable as problem:
        raise Unavailable(str(problem), reason="JOURNAL_FAILED", retry_after_seconds=1.0) from None


def _attribute(message: pb.Hold | pb.CustodyOrder, asked: Asked) -> None:
    message.person, message.reason = asked.person, asked.reason
    seconds, rest = divmod(asked.at_ms, 1000)
    message.create_time.CopyFrom(Timestamp(seconds=seconds, nanos=rest * 1_000_000))
