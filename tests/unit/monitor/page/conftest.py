"""Snapshots to order, and a page taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from services.monitor.definition.loading import shipped
from services.monitor.page.site import Site, Stack
from services.monitor.page.visit import Visit
from services.monitor.status import snapshot as s
from services.monitor.traces.store import Bounds, TraceStore

NOW = 1_790_000_000.0
INLINE = ("a", "b", "code", "i", "span", "wbr")
VOID = ("meta", "link", "br", "wbr", "input")


class Outline(HTMLParser):
    """Tags and text of a page; fails on a tag that is closed in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.part(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.part(tag)

    def part(self, tag: str) -> None:
        """Lines and cells stand apart, whatever white space is between their tags."""
        if tag not in INLINE:
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        """As it reads: white space is one space."""
        return " ".join("".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def outline() -> type[Outline]:
    return Outline


def busy_status() -> s.Status:
    """All is well and something is done."""
    times = [NOW - 2 * age for age in range(20, -1, -1)]
    lines = {
        "requests_per_second": 12.5, "error_ratio": 0.01, "request_p50": 0.41, "request_p95": 1.25, "request_p99": 1.9,
        "first_token_p95": 0.21, "output_tokens_per_second": 812.0, "useful_token_ratio": 0.91, "commit_p99": 0.0042,
        "queue_waiting/interactive": 2.0,
    }  # fmt: skip
    history = s.History(times=times, series={name: s.Series(values=[value] * 21) for name, value in lines.items()})
    services = [
        s.ServiceState(service=name, instance=f"127.0.0.1:{port}", up=True, ready=True, age_seconds=0.4)
        for name, port in (("gateway", 7410), ("guard", 7411), ("inference", 7412), ("audit", 7413))
    ]
    verdicts = [s.VerdictRate(verdict="ALLOW", rule="", per_second=11.0)]
    return s.Status(
        time=NOW - 1, interval_seconds=2.0, services=services, history=history,
        traffic=s.Traffic(requests_per_second=12.5, ends_per_second={"COMPLETED": 12.0, "FAILED": 0.5, "EXPIRED": 0.0}),
        queue=[s.QueueClass(priority="interactive", waiting=2, jobs=6, oldest_seconds=0.12)],
        guard=s.Guard(verdicts=verdicts, policy={"name": "default", "version": "7", "digest": "ab" * 32}),
        audit=s.AuditHealth(tree_entries=128_431, checkpoint_entries=128_419, checkpoint_age_seconds=2),
        workers=[s.WorkerState(instance="127.0.0.1:7412", model="smollm2", ready=True, slots=16, running=13)],
        models={"smollm2": 1}, machine=s.Machine(cores=2, cpu_ratio=0.93),
    )  # fmt: skip


@pytest.fixture
def busy() -> s.Status:
    return busy_status()


@pytest.fixture
def english() -> Visit:
    return Visit("/", "en")


@pytest.fixture
def chinese() -> Visit:
    return Visit("/", "zh", "zh")


@pytest.fixture
def store() -> TraceStore:
    return TraceStore(Bounds(quiet_seconds=0))


@pytest.fixture
def make_site(store: TraceStore) -> Callable[..., Site]:
    """`make_site(status, insecure=True)`, as of NOW."""

    def make(status: s.Status, **stack: Any) -> Site:
        return Site(Stack(home=".strongroom", **stack), shipped(), lambda: status, store, clock=lambda: NOW)

    return make


@pytest.fixture
def changed() -> Callable[..., s.Status]:
    """`changed(status, section, field=value)`: a snapshot that differs in that."""

    def change(status: s.Status, section: str = "", **fields: Any) -> s.Status:
        if not section:
            return replace(status, **fields)
        return replace(status, **{section: replace(getattr(status, section), **fields)})

    return change
