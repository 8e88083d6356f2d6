"""Deadlines, cancellation, traces and credentials of single calls."""

import asyncio

import grpc
import pytest
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.client import connect
from chassis.errors import from_rpc_error
from chassis.tracing import begun, here, span


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_every_call_has_a_deadline_though_none_was_set(guard, stub):
    await stub.CheckText(pb.CheckTextRequest())
    [remaining] = guard.remaining_seconds
    assert 0 < remaining < 5.5, "the client's 5 s, as the wire rounds them"


async def test_a_batch_stream_has_no_deadline(guard, serve, stream_to):
    async with serve() as port:
        await stream_to(port)
        assert guard.remaining_seconds == [None]


async def test_a_call_that_runs_out_of_time_hears_it_from_the_server(guard, serve):
    """Without a deadline of the caller's the server's own default binds; the words are the server's."""
    stopped = asyncio.Event()

    async def check(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    guard.check = check
    async with serve(default_deadline_seconds=0.05) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = guard_pb2_grpc.GuardServiceStub(channel).CheckText
        error = await refused(call(pb.CheckTextRequest(), metadata=(("authorization", "Bearer token-of-the-gateway"),)))
    assert (error.code, str(error)) == ("DEADLINE_EXCEEDED", "deadline exceeded")
    assert stopped.is_set()


async def test_cancelling_a_stream_blocked_in_a_write_cleans_up_in_the_calls_own_task(guard, stub, logged):
    tasks, cleaned = [], asyncio.Event()

    async def pieces():
        tasks.append(asyncio.current_task())
        try:
            while True:  # nobody reads: flow control blocks a write sooner or later
                yield pb.ExchangeResponse(replies=[pb.ItemReply(status=pb.ItemStatus(message="x" * 100_000))])
        finally:
            tasks.append(asyncio.current_task())
            cleaned.set()

    guard.pieces = pieces()
    call = stub.Exchange()
    await call.read()
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait_for(cleaned.wait(), 5)
    assert tasks[0] is tasks[1]
    assert [line for line in logged() if line["level"] == "error"] == []


async def test_a_caller_that_leaves_during_a_write_is_no_error(guard, stub, logged):
    """gRPC reports it in one of two ways, by chance: many leave, so that both happen."""

    async def pieces():
        while True:
            yield pb.ExchangeResponse(replies=[pb.ItemReply(status=pb.ItemStatus(message="x" * 100_000))])

    for _ in range(40):
        guard.pieces = pieces()
        guard.left.clear()
        call = stub.Exchange()
        await call.read()
        call.cancel()
        await asyncio.wait_for(guard.left.wait(), 5)
    await asyncio.sleep(0.01)
    assert [line for line in logged() if line["level"] == "error"] == []


async def test_cancelling_a_call_cancels_its_handler(guard, stub):
    started, stopped = asyncio.Event(), asyncio.Event()

    async def check(request, context):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    guard.check = check
    call = stub.CheckText(pb.CheckTextRequest())
    waiting = asyncio.ensure_future(_code(call))
    await asyncio.wait_for(started.wait(), 5)
    call.cancel()
    await asyncio.wait_for(stopped.wait(), 5)
    assert await waiting is grpc.StatusCode.CANCELLED


async def _code(call):
    return await call.code()


async def test_the_trace_goes_on_in_the_neighbour(guard, stub, spans):
    with span("asking", begun("")):
        asking = here()
        await stub.CheckText(pb.CheckTextRequest())
    await stub.CheckText(pb.CheckTextRequest())
    inside, apart = (s for s in spans() if s.name == "strongroom.guard.v1.GuardService/CheckText")
    assert f"{inside.context.trace_id:032x}" == asking.trace.id
    assert f"{inside.parent.span_id:016x}" == asking.span_id
    assert f"{apart.context.trace_id:032x}" != asking.trace.id and apart.parent is None
    assert inside.attributes["rpc.grpc.status_code"] == 0


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ((), "UNAUTHENTICATED", "NO_CREDENTIAL"),
        ((("authorization", "Basic abc"),), "UNAUTHENTICATED", "NO_CREDENTIAL"),
        ((("authorization", "Bearer "),), "UNAUTHENTICATED", "NO_CREDENTIAL"),
        ((("authorization", "Bearer nobodys"),), "UNAUTHENTICATED", "UNKNOWN_CREDENTIAL"),
        ((("authorization", "Bearer token-of-audit"),), "PERMISSION_DENIED", "METHOD_NOT_ALLOWED"),
    ],
)
async def test_a_caller_without_a_fitting_credential_is_refused(metadata, code, reason, serve):
    async with serve() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        error = await refused(
            guard_pb2_grpc.GuardServiceStub(channel).CheckText(pb.CheckTextRequest(), metadata=metadata)
        )
    assert (error.code, error.reason) == (code, reason)
    assert "nobodys" not in str(error)


async def test_one_grant_of_the_list_suffices_and_no_other_does(serve):
    async with serve() as port, connect(f"127.0.0.1:{port}", "key-of-a-person") as channel:
        stub = guard_pb2_grpc.GuardServiceStub(channel)
        await stub.CheckText(pb.CheckTextRequest())
        assert (await refused(stub.RedactText(pb.RedactTextRequest()))).code == "PERMISSION_DENIED"


async def test_a_method_that_no_list_names_is_refused(stub):
    assert (await refused(stub.GetPolicy(pb.GetPolicyRequest()))).code == "PERMISSION_DENIED"


async def test_the_caller_may_bring_a_credential_of_its_own(stub):
    own = (("authorization", "Bearer nobodys"),)
    assert (await refused(stub.CheckText(pb.CheckTextRequest(), metadata=own))).reason == "UNKNOWN_CREDENTIAL"


@pytest.mark.parametrize(
    ("token", "code"), [("token-of-the-gateway", "INVALID_ARGUMENT"), ("nobody", "UNAUTHENTICATED")]
)
async def test_bytes_that_are_no_message_get_a_clear_error_after_the_credential(token, code, serve):
    """gRPC itself would answer UNKNOWN with what its parser said."""
    async with serve() as port, connect(f"127.0.0.1:{port}", token) as channel:
        raw = channel.unary_unary("/strongroom.guard.v1.GuardService/CheckText")
        error = await refused(raw(b"\xff\xff\xff no message"))
        assert error.code == code
        assert "DecodeError" not in str(error) and "protobuf" not in str(error)
