"""Spans to order, and a clock that stands still until told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from chassis.genai import REQUEST_ID
from services.monitor.traces.span import Span


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_span() -> Callable[..., Span]:
    """`make_span("a", parent="b", at=0, ms=5)`: names are spans' ids, times in milliseconds."""
    numbers = itertools.count(1)

    def make(name: str = "", parent: str = "", trace: str = "7", at: float = 0, ms: float = 1, **more: Any) -> Span:
        name = name or f"s{next(numbers)}"
        attributes = dict(more.pop("attributes", {}))
        if request := more.pop("request", ""):
            attributes[REQUEST_ID] = request
        start_ns = 1_790_000_000_000_000_000 + int(at * 1e6)
        return Span(
            trace_id=trace.rjust(32, "0"),
            span_id=name,
            parent_span_id=parent,
            name=more.pop("label", name),
            service=more.pop("service", "gateway"),
            pid=more.pop("pid", 10),
            start_ns=start_ns,
            end_ns=start_ns + int(ms * 1e6),
            attributes=attributes,
            **more,
        )

    return make
