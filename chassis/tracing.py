"""One trace through every service: spans carry ids, counts and names, never content or an exception's text."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from chassis.boundary import Call

tracer = trace.get_tracer("strongroom")
Attributes = Mapping[str, str | int | float | bool]

# The exporter drops what does not fit: traces are a help, the audit log is the record (invariant 10).
MAX_QUEUED_SPANS = 8192
EXPORT_DELAY_MS = 250
EXPORT_SECONDS = 2  # also about how long a stop waits for a receiver that is away


def export_spans(service: str, address: str, token: str) -> Callable[[], None]:
    """Sends this process's spans to the OTLP receiver at `address`; returns what flushes and stops it."""
    resource = Resource.create({"service.name": service, "process.pid": os.getpid()})
    provider = TracerProvider(resource=resource)
    if address:
        exporter = OTLPSpanExporter(
            endpoint=address, insecure=True, headers=(("authorization", f"Bearer {token}"),), timeout=EXPORT_SECONDS
        )
        provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED_SPANS, schedule_delay_millis=EXPORT_DELAY_MS)
        )
    trace.set_tracer_provider(provider)
    return provider.shutdown


@asynccontextmanager
async def traced(call: Call) -> AsyncIterator[None]:
    """The outermost layer: one server span a call. A batch stream gets none: its items have their own."""
    if call.long_lived:
        yield
        return
    with span(call.method.lstrip("/"), parent=propagate.extract(call.metadata), kind=trace.SpanKind.SERVER) as current:
        try:
            yield
        finally:
            current.set_attribute("rpc.grpc.status_code", _number(call.context.code()))


@contextmanager
def span(
    name: str,
    parent: Context | str | None = None,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> Iterator[trace.Span]:
    """A span that records a failure's status but not its text. `parent` may be a traceparent."""
    context = _context(parent) if isinstance(parent, str) else parent
    with tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException:
            current.set_status(trace.StatusCode.ERROR)
            raise


def finished_span(
    name: str, traceparent: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
) -> None:
    """Records work that is already over, with the wall-clock times it had (nanoseconds since 1970)."""
    tracer.start_span(name, context=_context(traceparent), start_time=start_ns, attributes=attributes).end(end_ns)


def traceparent() -> str:
    """The W3C context of the current span, to be carried in an item or a job."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent", "")


def trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def _context(parent: str) -> Context | None:
    return propagate.extract({"traceparent": parent}) if parent else None


def _number(code: Any) -> int:
    """gRPC keeps a plain 0 until a handler sets a code, and a StatusCode after."""
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code or 0)
