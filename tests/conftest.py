"""What tests of all layers see of a process's spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.sampling import Sampler, Tracing
from chassis.span_export import into
from chassis.tracing import send_spans_to


@pytest.fixture
def spans() -> Iterator[Callable[[], list[ReadableSpan]]]:
    """The spans of this process that ended so far, all requests chosen."""
    exporter = InMemorySpanExporter()
    send_spans_to(into(SimpleSpanProcessor(exporter), "test"), Sampler(Tracing(share=1.0)))
    yield lambda: list(exporter.get_finished_spans())
    send_spans_to(None)
