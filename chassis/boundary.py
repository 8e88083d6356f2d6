"""The edge of a service: every call passes through the same layers, outermost first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")  # answered without a credential: probes have none


@dataclass(frozen=True)
class Call:
    """One RPC, as the layers see it."""

    method: str
    metadata: Mapping[str, str | bytes]
    context: grpc.aio.ServicerContext[Any, Any]
    long_lived: bool  # a batch stream: it carries many requests and is itself none


Layer = Callable[[Call], AbstractAsyncContextManager[None]]


_draining: ContextVar[asyncio.Event] = ContextVar("draining")


def draining() -> asyncio.Event:
    """Set when this call's server is about to stop: long-lived calls then finish what they hold, and end."""
    return _draining.get()


class Boundary(grpc.aio.ServerInterceptor):
    """Runs every handler inside the given layers. The only code that knows gRPC's call shapes."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Without it a batch stream, which never ends by itself, would use up the whole grace period of a stop."""
        self._draining.set()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or details.method.startswith(INFRASTRUCTURE):
            return handler
        metadata = dict(details.invocation_metadata)
        shape = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
        behavior: Callable[[Any, Any], Any] = getattr(handler, shape)

        @asynccontextmanager
        async def layered(context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
            call = Call(details.method, metadata, context, long_lived=bool(handler.request_streaming))
            _draining.set(self._draining)
            async with AsyncExitStack() as stack:
                for layer in self._layers:
                    await stack.enter_async_context(layer(call))
                yield

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with layered(context):
                return await behavior(request, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            # Written here, not yielded to gRPC: gRPC drops a cancelled generator, whose `finally` would then
            # run in another task, later. Under `aclosing` the clean-up runs in this call's own task.
            async with layered(context), aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    try:
                        await context.write(response)
                    except grpc.aio.InternalError:  # the caller went during the write, which is no failure of ours
                        raise asyncio.CancelledError from None

        run: Callable[[Any, Any], Awaitable[Any]] = stream if handler.response_streaming else answer
        make = getattr(grpc, f"{shape}_rpc_method_handler")
        return make(run, handler.request_deserializer, handler.response_serializer)


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
