"""What a caller, a span and a log line learn when a handler fails."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strongroom.guard.v1 import guard_pb2 as pb

from chassis import failures
from chassis.errors import from_rpc_error

CARD = "6222 0212 3456 7890 123"


def raising(error):
    def check(request, context):
        raise error

    return check


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    "bug", [KeyError(CARD), ValueError(CARD), RuntimeError(CARD), AssertionError(CARD), UnicodeError(CARD)], ids=repr
)
async def test_an_exceptions_text_reaches_neither_caller_nor_span_nor_log(bug, guard, stub, spans, logged):
    guard.check = raising(bug)
    error = await failure(stub.CheckText(pb.CheckTextRequest(text=CARD)))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    [line] = [line for line in logged() if line["event"].endswith("CheckText failed")]
    assert line["exception"] == type(bug).__name__
    assert line["trace_id"]
    async with asyncio.timeout(20):  # the server's span ends a moment after its caller has heard
        while not spans():
            await asyncio.sleep(0.01)
    everything = [str(logged()), str(error), *(span.to_json() for span in spans())]
    assert not [text for text in everything if CARD in text]


async def test_an_exceptions_text_leaves_no_stream_either(guard, stub, spans, logged):
    go_on = asyncio.Event()

    async def pieces():
        yield pb.ExchangeResponse()
        await go_on.wait()
        raise KeyError(CARD)

    guard.pieces = pieces()
    call = stub.Exchange()
    assert await call.read() == pb.ExchangeResponse()
    go_on.set()
    error = await failure(call.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert CARD not in str(logged())
    assert not [span for span in spans() if CARD in span.to_json()]


async def test_a_typed_failure_carries_reason_field_and_retry(guard, stub):
    guard.check = raising(
        failures.InvalidArgument("text: 9 is over 8: shorten it", field="text", reason="TOO_LONG", bound="8")
    )
    error = await failure(stub.CheckText(pb.CheckTextRequest()))
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(bad)
    assert (info.reason, info.domain, dict(info.metadata)) == ("TOO_LONG", "strongroom", {"bound": "8"})
    assert [(v.field, v.description) for v in bad.field_violations] == [("text", "text: 9 is over 8: shorten it")]

    guard.check = raising(failures.ResourceExhausted("full", retry_after_seconds=1.5))
    status = rpc_status.from_call(await failure(stub.CheckText(pb.CheckTextRequest())))
    retry = error_details_pb2.RetryInfo()
    assert status.details[-1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


@pytest.mark.parametrize("kind", failures.KINDS.values(), ids=lambda kind: kind.__name__)
async def test_every_failure_comes_back_as_itself(kind, guard, stub):
    guard.check = raising(kind("told", reason="A_REASON", field="text", retry_after_seconds=0.25, other="x"))
    told = from_rpc_error(await failure(stub.CheckText(pb.CheckTextRequest())))
    assert type(told) is kind
    assert (str(told), told.reason, told.field, told.retry_after_seconds) == ("told", "A_REASON", "text", 0.25)
    assert told.metadata == {"other": "x"}


async def test_a_failure_without_details_keeps_its_code(serve, stub):
    told = from_rpc_error(await failure(stub.CheckText(pb.CheckTextRequest(text="x" * (9 << 20)))))
    assert isinstance(told, failures.ResourceExhausted)  # over the message bound, refused by gRPC itself


async def test_a_handlers_own_timeout_is_a_deadline(guard, stub, spans):
    async def check(request, context):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    guard.check = check
    assert (await failure(stub.CheckText(pb.CheckTextRequest()))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    [span] = [span for span in spans() if span.name.endswith("CheckText")]
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert not span.events and not span.status.description
