"""gRPC to the trace store and back: OTLP in, traces out."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc

from chassis.boundary import draining
from chassis.failures import InvalidArgument, NotFound, ResourceExhausted
from chassis.identity import current_principal
from services.monitor import otlp
from services.monitor.alerts.feed import MAX_WATCHERS, AlertFeed, News, TooManyWatchers
from services.monitor.definition.rules import Definition
from services.monitor.traces.span import Span
from services.monitor.traces.store import Trace, TraceStore
from services.monitor.translation import alert_message, status_message
from services.monitor.watch import Watch

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]

MAX_SPANS_A_BATCH = 5_000  # exporters send 512
MAX_PAGE = 200
DEFAULT_PAGE = 20
RETRY_SECONDS = 30.0
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{1,64}")

_REPORTERS = frozenset(f"service:{name}" for name in ("gateway", "guard", "inference", "audit", "monitor"))
# Traces show every caller's requests, so a credential that may read the log is wanted.
_READERS = frozenset({"role:reviewer"})
_OPERATORS = frozenset({"role:operator", "role:reviewer"})
ALLOWED = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": _REPORTERS,
    "/strongroom.monitor.v1.MonitorService/GetTrace": _READERS,
    "/strongroom.monitor.v1.MonitorService/ListTraces": _READERS,
    # Rates, states and addresses of processes, and nothing about any one request.
    "/strongroom.monitor.v1.MonitorService/GetStatus": _OPERATORS,
    "/strongroom.monitor.v1.MonitorService/WatchAlerts": _OPERATORS,
}


class TraceReceiver(otlp_grpc.TraceServiceServicer):
    """OTLP over gRPC. What cannot be kept is refused span by span, as OTLP's partial success says."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        self.received: Counter[str] = Counter()  # spans, by service
        self.refused: Counter[str] = Counter()  # spans, by reason

    async def Export(
        self, request: otlp_pb2.ExportTraceServiceRequest, context: Context
    ) -> otlp_pb2.ExportTraceServiceResponse:
        count = sum(len(scope.spans) for reported in request.resource_spans for scope in reported.scope_spans)
        service = current_principal.get().name  # by its credential: what a resource says of itself proves nothing
        self.received[service] += count
        if count > MAX_SPANS_A_BATCH:
            self.refused["batch_too_large"] += count
            raise InvalidArgument(
                f"resource_spans: {count} spans in one batch; at most {MAX_SPANS_A_BATCH}: send smaller batches",
                field="resource_spans",
                reason="BATCH_TOO_LARGE",
            )
        rejected, problem = 0, ""
        for reported in request.resource_spans:
            pid = otlp.process_id(reported.resource.attributes)
            for scope in reported.scope_spans:
                for message in scope.spans:
                    try:
                        self._store.add(otlp.span(message, service, pid))
                    except otlp.MalformedSpan as malformed:
                        rejected, problem = rejected + 1, str(malformed)
        if rejected:
            self.refused["malformed"] += rejected
            log.warning("%d spans of %s were malformed", rejected, service)
        partial = otlp_pb2.ExportTracePartialSuccess(rejected_spans=rejected, error_message=problem)
        return otlp_pb2.ExportTraceServiceResponse(partial_success=partial if rejected else None)

    def register(self, server: grpc.aio.Server) -> None:
        otlp_grpc.add_TraceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]


class MonitorServicer(monitor_pb2_grpc.MonitorServiceServicer):
    """Traces by id, and the recent ones; how the stack stands, and its alerts."""

    def __init__(self, store: TraceStore, definition: Definition, watch: Watch, feed: AlertFeed) -> None:
        self._store, self._definition, self._watch, self._feed = store, definition, watch, feed

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        if not WELL_FORMED.fullmatch(request.id):
            raise InvalidArgument(
                "id: is neither a request id nor a trace id (1 to 64 letters, digits, - or _): take it from the "
                "answer's `request_id` or `trace_id`",
                field="id",
            )
        trace = self._store.find(request.id)
        if trace is None:
            raise NotFound(
                f"no trace of {request.id} here: spans take up to a second to arrive, and old traces make room for new",
                reason="TRACE_NOT_FOUND",
            )
        spans = [_span(span) for span in trace.spans]
        return pb.GetTraceResponse(trace_id=trace.trace_id, spans=spans, complete=trace.complete)

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        if request.page_size > MAX_PAGE:
            raise InvalidArgument(
                f"page_size: {request.page_size} is over {MAX_PAGE}: ask for fewer, or 0 for {DEFAULT_PAGE}",
                field="page_size",
            )
        traces = self._store.newest(request.page_size or DEFAULT_PAGE)
        return pb.ListTracesResponse(traces=[_summary(trace) for trace in traces])

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        return status_message(self._watch.status(), self._definition, self._watch.figures)

    async def WatchAlerts(
        self, request: pb.WatchAlertsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAlertsResponse]:
        """What a reader has not taken yet is merged by its watcher, alert by alert."""
        drained = asyncio.create_task(draining().wait())
        try:
            with self._feed.watching() as watcher:
                async for news in _until(drained, watcher.news):
                    alerts = [alert_message(alert) for alert in news.alerts]
                    yield pb.WatchAlertsResponse(alerts=alerts, complete=news.complete)
        except TooManyWatchers:
            raise ResourceExhausted(
                f"{MAX_WATCHERS} calls watch already: close one, or ask GetStatus now and then",
                reason="TOO_MANY_WATCHERS",
                retry_after_seconds=RETRY_SECONDS,
            ) from None
        finally:
            drained.cancel()

    def register(self, server: grpc.aio.Server) -> None:
        monitor_pb2_grpc.add_MonitorServiceServicer_to_server(self, server)


async def _until(end: asyncio.Task[Any], ask: Callable[[], Awaitable[News]]) -> AsyncIterator[News]:
    """One answer after the other, until the end comes first."""
    while not end.done():
        asked = asyncio.ensure_future(ask())
        try:
            await asyncio.wait((asked, end), return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                yield asked.result()
        finally:
            asked.cancel()


def _span(span: Span) -> pb.Span:
    message = pb.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        service=span.service,
        pid=span.pid,
        attributes=span.attributes,
        status=span.status,
    )
    message.start_time.FromNanoseconds(span.start_ns)
    message.end_time.FromNanoseconds(span.end_ns)
    return message


def _summary(trace: Trace) -> pb.TraceSummary:
    summary = pb.TraceSummary(
        trace_id=trace.trace_id,
        request_id=trace.request_id,
        duration_ms=trace.duration_ms,
        spans=len(trace.spans),
    )
    summary.start_time.FromNanoseconds(trace.start_ns)
    return summary
