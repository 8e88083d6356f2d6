"""The edge of a service: every call passes through the same layers, outermost first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from chassis.failures import InvalidArgument

MALFORMED = "MALFORMED_MESSAGE"
INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")  # answered without a credential: probes have none


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC, as the layers see it."""

    method: str
    metadata: Mapping[str, str | bytes]
    context: grpc.aio.ServicerContext[Any, Any]
    long_lived: bool  # a batch stream: it carries many requests and is itself none
    from_outside: bool  # its caller is none of our services


Proceed = Callable[[], Awaitable[None]]
Layer = Callable[[Call, Proceed], Awaitable[None]]  # awaits `proceed` once, unless it refuses the call


_draining: ContextVar[asyncio.Event] = ContextVar("draining")


def draining() -> asyncio.Event:
    """Set when this call's server is about to stop: long-lived calls then finish what they hold, and end."""
    return _draining.get()


class Boundary(grpc.aio.ServerInterceptor):
    """Runs every handler inside the given layers. The only code that knows gRPC's call shapes."""

    def __init__(self, layers: Sequence[Layer], *, from_outside: bool = False) -> None:
        self._layers, self._from_outside = tuple(reversed(layers)), from_outside
        self._draining = asyncio.Event()
        self._layered: dict[str, Any] = {}  # handlers by method, wrapped once

    def drain(self) -> None:
        """Without it a batch stream, which never ends by itself, would use up the whole grace period of a stop."""
        self._draining.set()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        layered = self._layered.get(details.method)
        if layered is None:
            handler = await continuation(details)
            if handler is None or details.method.startswith(INFRASTRUCTURE):
                return handler
            layered = self._layered[details.method] = self._inside_layers(details.method, handler)
        return layered

    def _inside_layers(self, method: str, handler: Any) -> Any:
        shape = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
        behavior: Callable[[Any, Any], Any] = getattr(handler, shape)
        long_lived = bool(handler.request_streaming)

        async def run(context: grpc.aio.ServicerContext[Any, Any], proceed: Proceed) -> None:
            metadata = dict(context.invocation_metadata() or ())
            call = Call(method, metadata, context, long_lived, self._from_outside)
            _draining.set(self._draining)
            for layer in self._layers:
                proceed = _inside(layer, call, proceed)
            await proceed()

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            response = None

            async def proceed() -> None:
                nonlocal response
                response = await behavior(_readable(request), context)

            await run(context, proceed)
            return response

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            # Written here, not yielded to gRPC: gRPC drops a cancelled generator, whose `finally` would then
            # run in another task, later. Under `aclosing` the clean-up runs in this call's own task.
            async def proceed() -> None:
                async with aclosing(behavior(_readable(request), context)) as responses:
                    async for response in responses:
                        try:
                            await context.write(response)
                        except grpc.aio.InternalError:  # the caller went during the write: no failure of ours
                            raise asyncio.CancelledError from None

            await run(context, proceed)

        make = getattr(grpc, f"{shape}_rpc_method_handler")
        inside: Callable[[Any, Any], Awaitable[Any]] = stream if handler.response_streaming else answer
        # A batch stream's messages come from our own services; of others gRPC would repeat what the parser said.
        read = handler.request_deserializer if long_lived else _reading(handler.request_deserializer)
        return make(inside, read, handler.response_serializer)


class _Unreadable:
    """In place of a message that is none of its type: the layers are to answer, credentials first."""


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except Exception:  # protobuf's own kind, which the chassis need not know
            return _Unreadable()

    return read


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise InvalidArgument("the message is not of this method's type: send what the contract says", reason=MALFORMED)
    return request


def _inside(layer: Layer, call: Call, proceed: Proceed) -> Proceed:
    return lambda: layer(call, proceed)


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
