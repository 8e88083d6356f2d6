"""Recent traces, within bounds of count and bytes; the one that has been quiet longest goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from services.monitor.traces.span import Span


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept. A span beyond its trace's bound is dropped, and the trace never counts as complete."""

    traces: int = 2_000
    bytes: int = 64 * 1024 * 1024
    spans_per_trace: int = 1_000
    quiet_seconds: float = 2.0  # twice the exporters' delay (chassis/span_export.py): leaves may come after the root


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as far as it arrived."""

    trace_id: str
    spans: Sequence[Span]  # by start time
    complete: bool  # root and every named parent are here, and nothing came in the last moment
    dropped: int = 0  # spans beyond the bound

    @property
    def root(self) -> Span:
        """The span without a parent; until it arrives, the one that began first."""
        return next((span for span in self.spans if not span.parent_span_id), self.spans[0])

    @property
    def request_id(self) -> str:
        """Empty where no span named one."""
        return next((span.request_id for span in self.spans if span.request_id), "")

    @property
    def start_ns(self) -> int:
        return self.spans[0].start_ns

    @property
    def duration_ms(self) -> float:
        """From the first start to the last end."""
        return (max(span.end_ns for span in self.spans) - self.start_ns) / 1e6

    @property
    def failed(self) -> bool:
        return any(span.status == "ERROR" for span in self.spans)


@dataclass(slots=True)
class _Gathered:
    spans: dict[str, Span] = field(default_factory=dict)
    bytes: int = 0
    dropped: int = 0
    last_arrival: float = 0.0


class TraceStore:
    """Spans by trace and by request. `clock` counts seconds and never goes back."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds, self._clock = bounds, clock
        self._traces: OrderedDict[str, _Gathered] = OrderedDict()  # the longest quiet first
        self._by_request: dict[str, str] = {}
        self.bytes = 0
        self.evicted = self.evicted_spans = 0
        self.dropped = 0  # spans beyond their trace's bound

    def __len__(self) -> int:
        return len(self._traces)

    def add(self, span: Span) -> None:
        """Keeps the span; one that comes again, as an exporter that retries sends it, is kept once."""
        gathered = self._traces.setdefault(span.trace_id, _Gathered())
        self._traces.move_to_end(span.trace_id)
        gathered.last_arrival = self._clock()
        if span.span_id in gathered.spans:
            return
        if len(gathered.spans) >= self._bounds.spans_per_trace:
            gathered.dropped += 1
            self.dropped += 1
            return
        gathered.spans[span.span_id] = span
        gathered.bytes += span.bytes
        self.bytes += span.bytes
        if span.request_id:
            self._by_request[span.request_id] = span.trace_id
        while len(self._traces) > self._bounds.traces or self.bytes > self._bounds.bytes:
            self._evict()

    def find(self, id: str) -> Trace | None:
        """By trace id, in either case, or by request id."""
        trace_id = id.lower() if id.lower() in self._traces else self._by_request.get(id, "")
        gathered = self._traces.get(trace_id)
        return self._seen(trace_id, gathered) if gathered else None

    def newest(self, count: int) -> list[Trace]:
        """The `count` that heard of most recently; the last begun first."""
        recent = islice(reversed(self._traces.items()), count)
        traces = [self._seen(trace_id, gathered) for trace_id, gathered in recent]
        return sorted(traces, key=lambda trace: trace.start_ns, reverse=True)

    def _seen(self, trace_id: str, gathered: _Gathered) -> Trace:
        spans = sorted(gathered.spans.values(), key=lambda span: (span.start_ns, -span.end_ns))
        parents = {span.parent_span_id for span in spans}
        whole = "" in parents and parents - {""} <= gathered.spans.keys() and not gathered.dropped
        quiet = self._clock() - gathered.last_arrival >= self._bounds.quiet_seconds
        return Trace(trace_id, spans, whole and quiet, gathered.dropped)

    def _evict(self) -> None:
        trace_id, gathered = self._traces.popitem(last=False)
        self.bytes -= gathered.bytes
        self.evicted += 1
        self.evicted_spans += len(gathered.spans)
        for span in gathered.spans.values():
            if self._by_request.get(span.request_id) == trace_id:
                del self._by_request[span.request_id]
