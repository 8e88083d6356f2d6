"""How each failure looks on the wire: google.rpc.Status with ErrorInfo, RetryInfo and BadRequest."""

from __future__ import annotations

import asyncio
import logging

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from chassis.boundary import Call, Proceed
from chassis.failures import KINDS, Internal, ServiceError

log = logging.getLogger(__name__)

DOMAIN = "strongroom"


async def reporting_errors(call: Call, proceed: Proceed) -> None:
    """Turns what a handler raises into a status; what is not a ServiceError reveals nothing."""
    try:
        await proceed()
    except (grpc.aio.BaseError, asyncio.CancelledError):  # already aborted, or the caller has gone
        raise
    except ServiceError as error:
        await call.context.abort_with_status(rpc_status.to_status(to_status(error)))
    except TimeoutError:
        await call.context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded")
    except Exception:
        log.exception("%s failed", call.method)
        await call.context.abort(grpc.StatusCode.INTERNAL, "internal error")


def to_status(error: ServiceError) -> status_pb2.Status:
    """The google.rpc.Status of a failure."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=str(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        details.append(retry)
    return status_pb2.Status(code=code_number(error.code), message=str(error), details=[_packed(d) for d in details])


def from_status(status: status_pb2.Status) -> ServiceError:
    """The failure that a neighbour reported."""
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    delay, field = None, ""
    for detail in status.details:
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        else:
            detail.Unpack(info)
    kind = KINDS.get(code_pb2.Code.Name(status.code), Internal)
    failure = kind(status.message, reason=info.reason, field=field, retry_after_seconds=delay)
    failure.metadata = dict(info.metadata)
    return failure


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """The failure behind a failed call; one without details keeps its code."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is not None:
        return from_status(status)
    return KINDS.get(error.code().name, Internal)(error.details() or "no details")


def code_number(name: str) -> int:
    """The number of a google.rpc.Code."""
    return int(code_pb2.Code.Value(name))


def code_name(number: int) -> str:
    """The name of a google.rpc.Code."""
    return str(code_pb2.Code.Name(number))


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
