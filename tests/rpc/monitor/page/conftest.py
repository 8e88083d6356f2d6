"""The page on a loopback port, of a status that a test sets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from chassis.genai import REQUEST_ID
from chassis.web import serving_http
from services.monitor.definition.loading import shipped
from services.monitor.page.live import Streams, View
from services.monitor.page.routes import page_routes
from services.monitor.page.site import Site, Stack
from services.monitor.page.visit import Visit
from services.monitor.status.snapshot import Status
from services.monitor.traces.span import Span
from services.monitor.traces.store import Bounds, TraceStore

PATIENCE = 60
MOST_STREAMS = 3


class CountingSite(Site):
    """Counts the views that streams ask for, by page."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: Counter[str] = Counter()

    def view(self, at: str, visit: Visit) -> View:
        self.asked[at] += 1
        return super().view(at, visit)


@dataclass
class Shown:
    """`status` gives what the page shows; a test may put another in its place."""

    store: TraceStore
    streams: Streams
    status: Callable[[], Status]
    port: int = 0
    site: CountingSite = field(init=False)

    def __post_init__(self) -> None:
        self.site = CountingSite(Stack(home=".strongroom"), shipped(), lambda: self.status(), self.store)


@pytest.fixture
async def shown() -> AsyncIterator[Shown]:
    """An event each 50 ms."""
    store = TraceStore(Bounds(traces=100, bytes=1 << 20, spans_per_trace=50, quiet_seconds=0.0))
    streams = Streams(most=MOST_STREAMS, every_seconds=0.05)
    shown = Shown(store, streams, lambda: Status(time=time.time(), interval_seconds=2.0))
    async with serving_http("127.0.0.1:0", lambda: "", page_routes(shown.site, streams)) as shown.port:
        yield shown
        streams.stop()


@pytest.fixture
async def http(shown: Shown) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{shown.port}", timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def span() -> Span:
    """One of the guard's, of request r-1."""
    start_ns = 1_790_000_000_000_000_000
    return Span(
        trace_id="7" * 32, span_id="3" * 16, parent_span_id="", name="screen", service="guard", pid=4242,
        start_ns=start_ns, end_ns=start_ns + 1_000_000, attributes={REQUEST_ID: "r-1"},
    )  # fmt: skip


@pytest.fixture
def traced(shown: Shown, span: Span) -> None:
    shown.store.add(span)
