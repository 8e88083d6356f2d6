"""Binding, health, reflection, draining, and the HTTP port beside."""

import asyncio
import time

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from starlette.routing import Route
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.client import connect
from chassis.server import CannotBind, Health
from chassis.web import serving_http

CARD = "6222021234567890123"


async def health_of(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


async def test_a_second_server_on_the_same_port_is_refused_not_shared(serve):
    async with serve() as port:
        with pytest.raises(CannotBind, match=f"127.0.0.1:{port} is taken.*STRONGROOM_PORT_BASE"):
            async with serve(f"127.0.0.1:{port}"):
                pass


async def test_health_says_not_serving_until_ready_and_again_when_something_is_away(serve):
    health = Health()
    async with serve(health=health) as port:
        assert await health_of(port) == "NOT_SERVING"
        await health.ready()
        assert await health_of(port) == "SERVING"
        await health.set("audit is away")
        assert await health_of(port) == "NOT_SERVING"


async def test_reflection_lists_the_services_to_callers_without_a_credential(serve):
    async with (
        serve(reflected=["strongroom.guard.v1.GuardService"]) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        response = await call.read()
    names = {service.name for service in response.list_services_response.service}
    assert {"strongroom.guard.v1.GuardService", "grpc.health.v1.Health"} <= names


async def test_reflection_is_off_unless_asked_for(serve):
    async with serve() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stopping_server_lets_running_calls_finish(guard, serve):
    started, go_on = asyncio.Event(), asyncio.Event()

    async def check(request, context):
        started.set()
        await go_on.wait()
        return pb.CheckTextResponse(stage="done")

    guard.check = check
    serving = serve()
    port = await serving.__aenter__()
    async with connect(f"127.0.0.1:{port}", "token-of-the-gateway") as channel:
        stub = guard_pb2_grpc.GuardServiceStub(channel)
        call = asyncio.ensure_future(_response(stub.CheckText(pb.CheckTextRequest())))
        await asyncio.wait_for(started.wait(), 5)
        stopping = asyncio.create_task(serving.__aexit__(None, None, None))
        await asyncio.sleep(0.02)
        go_on.set()
        assert (await call).stage == "done"
        await stopping


async def _response(call):
    return await call


async def test_an_open_batch_stream_does_not_hold_up_a_stop(guard, serve, stream_to, item):
    """The grace period is far longer than the test may take."""
    async with serve(grace_seconds=60) as port:
        stream = await stream_to(port)
        await asyncio.wait_for(stream.send(item("a")), 5)
        began = time.monotonic()
    assert time.monotonic() - began < 30  # the bound of a hang, not a measurement


async def test_health_and_readiness_over_http(logged):
    reason = "the model is loading"

    async def broken(request):
        raise KeyError(CARD)

    routes = [Route("/broken", broken)]
    async with (
        serving_http("127.0.0.1:0", lambda: reason, routes) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        assert (await http.get("/healthz")).json() == {"alive": True}
        waiting = await http.get("/readyz")
        assert (waiting.status_code, waiting.json()) == (503, {"ready": False, "reason": reason})
        reason = ""
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reason": ""})
        failed = await http.get("/broken")
        assert (failed.status_code, failed.text) == (500, "Internal Server Error")
        assert CARD not in str(logged()) and [line for line in logged() if line.get("exception") == "KeyError"]
        with pytest.raises(CannotBind, match=str(port)):
            async with serving_http(f"127.0.0.1:{port}", lambda: ""):
                pass


async def test_http_leaves_the_signal_handlers_alone():
    import signal

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving_http("127.0.0.1:0", lambda: "") as port, httpx.AsyncClient() as http:
        await http.get(f"http://127.0.0.1:{port}/healthz")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
