"""Spans on their way to the OTLP receiver, in OpenTelemetry's own batches. They may be dropped (invariant 10)."""

from __future__ import annotations

import os
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from chassis.sampling import Sampler
from chassis.tracing import Finished, send_spans_to

MAX_QUEUED_SPANS = 8192
EXPORT_DELAY_MS = 1000  # each export is a call for both sides: a quarter as often costs a quarter
EXPORT_SECONDS = 2  # also about how long a stop waits for a receiver that is away

_SCOPE = InstrumentationScope("strongroom")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILED, _UNSET = Status(StatusCode.ERROR), Status(StatusCode.UNSET)


def export_spans(service: str, address: str, token: str, sampler: Sampler | None = None) -> Callable[[], None]:
    """Sends this process's spans to the OTLP receiver at `address`; returns what flushes and stops it."""
    if not address:
        send_spans_to(None)
        return lambda: None
    exporter = OTLPSpanExporter(
        endpoint=address, insecure=True, headers=(("authorization", f"Bearer {token}"),), timeout=EXPORT_SECONDS
    )
    processor = BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED_SPANS, schedule_delay_millis=EXPORT_DELAY_MS)
    send_spans_to(into(processor, service), sampler)
    return processor.shutdown


def into(processor: SpanProcessor, service: str) -> Callable[[Finished], None]:
    """Hands finished spans to a processor of OpenTelemetry's."""
    resource = Resource.create({"service.name": service, "process.pid": os.getpid()})
    return lambda finished: processor.on_end(_readable(finished, resource))


def _readable(finished: Finished, resource: Resource) -> ReadableSpan:
    trace_id = int(finished.trace_id, 16)
    return ReadableSpan(
        name=finished.name,
        context=_context(trace_id, finished.span_id),
        parent=_context(trace_id, finished.parent_id) if finished.parent_id else None,
        resource=resource,
        attributes=finished.attributes,
        kind=finished.kind,
        status=_FAILED if finished.failed else _UNSET,
        start_time=finished.start_ns,
        end_time=finished.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace_id: int, span_id: str) -> SpanContext:
    return SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)
