"""The routes of the HTTP edge, and the layers every call of it passes: span, errors, credential."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from opentelemetry.trace import SpanKind
from starlette.types import Receive, Scope, Send

from chassis.failures import Cancelled, Internal, InvalidArgument, NotFound, ServiceError
from chassis.identity import Principal, admit
from chassis.tracing import begun, span, trace_id
from services.gateway.asking import CALLERS, Deadlines, asked, current_caller, next_event, whole
from services.gateway.edge.chat_answer import KEEP_ALIVE, Chunks, as_json, completion, model_objects
from services.gateway.edge.chat_request import ChatRequest, chat_request
from services.gateway.edge.failures import METHOD_NOT_ALLOWED, error_object, headers_of, status_of
from services.gateway.edge.http_call import Bounds, HttpCall, event
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.life import Life
from services.gateway.requests.outcome import Delta, Outcome, Started

log = logging.getLogger(__name__)

BOUNDS = Bounds()

PREFIX = "/v1/"
COMPLETIONS, MODELS, MODEL, REST = "/v1/chat/completions", "/v1/models", "/v1/models/{model}", "/v1/{rest}"
METHODS = {COMPLETIONS: "POST", MODELS: "GET", MODEL: "GET"}

Handle = Callable[[HttpCall], Awaitable[None]]


class EdgeApp:
    """What the gateway serves under /v1/: an ASGI application that runs a call's handler inside the layers."""

    def __init__(
        self, conductor: Conductor, known: Mapping[str, Principal], deadlines: Deadlines, bounds: Bounds = BOUNDS
    ) -> None:
        self._known, self._bounds = known, bounds
        edge = Edge(conductor, deadlines, bounds)
        self._handles: dict[str, Handle] = {
            COMPLETIONS: edge.complete, MODELS: edge.list_models, MODEL: edge.show_model, REST: edge.refuse_route
        }  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = HttpCall(scope, receive, send, self._bounds)
        route = _route(call.path)
        attributes = {"http.request.method": call.method, "http.route": route}
        place = begun(call.header(b"traceparent"))
        with span(f"{call.method} {route}", place, SpanKind.SERVER, attributes) as current:
            try:
                admit(call.header(b"authorization"), self._known, CALLERS, route)
                _take_method(call.method, route)
                await self._handles[route](call)
            except ServiceError as error:
                await _fail(call, error)
                if status_of(error) >= 500:
                    current.fail()
            except Exception:
                log.exception("%s failed", route)
                await _fail(call, Internal("internal error"))
                current.fail()
            current.set_attribute("http.response.status_code", call.status)


def _route(path: str) -> str:
    if path in METHODS:
        return path
    return MODEL if path.startswith(f"{MODELS}/") else REST


def _take_method(method: str, route: str) -> None:
    taken = METHODS.get(route, method)
    if method != taken:
        raise InvalidArgument(f"this route takes {taken} only", reason=METHOD_NOT_ALLOWED)


async def _fail(call: HttpCall, error: ServiceError) -> None:
    """An answer of its own, or the last event of a stream that was open."""
    said = as_json(error_object(error, trace_id(), call.request_id, call.tokens_field))
    if call.streaming:
        await call.write(event(said), last=True)
    else:
        await call.answer(status_of(error), said, call.request_id or trace_id(), headers_of(error))


class Edge:
    """The handlers: each reads a call, asks the conductor, and writes what it hears."""

    def __init__(self, conductor: Conductor, deadlines: Deadlines, bounds: Bounds) -> None:
        self._conductor, self._deadlines, self._bounds = conductor, deadlines, bounds

    async def complete(self, call: HttpCall) -> None:
        request = await self._read(call)
        seconds = self._deadlines.of(request.timeout_seconds)
        question = self._conductor.addressed(request.question)
        with await asked(self._conductor, question, seconds, streamed=request.stream) as life:
            call.when_left(life.detach)
            call.request_id = life.terms.request_id
            await (self._stream(call, request, life) if request.stream else self._whole(call, life))

    async def list_models(self, call: HttpCall) -> None:
        await call.body()
        models = list(model_objects(self._conductor.models()).values())
        await call.answer(200, as_json({"object": "list", "data": models}), trace_id())

    async def show_model(self, call: HttpCall) -> None:
        await call.body()
        found = model_objects(self._conductor.models()).get(call.path.removeprefix(f"{MODELS}/"))
        if found is None:
            raise NotFound("no worker serves this model: GET /v1/models lists them", reason="MODEL_NOT_FOUND")
        await call.answer(200, as_json(found), trace_id())

    async def refuse_route(self, call: HttpCall) -> None:
        served = ", ".join(METHODS)
        raise NotFound(f"there is no such route: this edge serves {served}", reason="ROUTE_NOT_FOUND")

    async def _read(self, call: HttpCall) -> ChatRequest:
        try:
            body = await call.body()
            request = chat_request(body, call.header(b"idempotency-key"))
        except Cancelled:
            raise
        except ServiceError as error:
            self._conductor.reject(error, current_caller(), trace_id())
            raise
        call.tokens_field = request.tokens_field
        return request

    async def _whole(self, call: HttpCall, life: Life) -> None:
        outcome, said = await whole(life)
        logprobs = life.terms.sampling.logprobs is not None
        answer = completion(outcome, life.terms.with_adapter(outcome.model), said, int(time.time()), logprobs)
        await call.answer(200, answer, outcome.request_id)

    async def _stream(self, call: HttpCall, request: ChatRequest, life: Life) -> None:
        """Its head waits for the first text, so that what fails before it has a status of its own."""
        heard = await next_event(life)
        assert isinstance(heard, Started), "a life begins with Started"
        call.request_id = heard.request_id  # of the record: an earlier one's where its answer is read back
        chunks = Chunks(heard, life.terms.with_adapter(heard.model), int(time.time()), request.include_usage)
        while True:
            try:
                async with asyncio.timeout(self._bounds.keep_alive_seconds):
                    heard = await next_event(life)
            except TimeoutError:
                await _write(call, chunks, KEEP_ALIVE)
                continue
            if isinstance(heard, Delta):
                await _write(call, chunks, chunks.delta(heard))
            elif isinstance(heard, Outcome):
                await _write(call, chunks, chunks.finish(heard), last=True)
                return


async def _write(call: HttpCall, chunks: Chunks, events: str, last: bool = False) -> None:
    if call.streaming:
        await call.write(events, last=last)
        return
    await call.open_stream(call.request_id)
    await call.write(chunks.role(), events, last=last)
