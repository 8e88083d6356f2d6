"""`strongroom trace`: it waits for a whole trace, and draws it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from strongroom.cli.main import main
from strongroom.cli.trace import waterfall, whole_trace
from strongroom.failures import NotFound
from strongroom.monitor.v1 import monitor_pb2 as pb


def span(name: str, parent: str, service: str, pid: int, start_ms: int, end_ms: int, status: str = "") -> pb.Span:
    made = pb.Span(span_id=name[-16:], parent_span_id=parent[-16:], name=name, service=service, pid=pid, status=status)
    made.start_time.FromMilliseconds(1_000_000 + start_ms)
    made.end_time.FromMilliseconds(1_000_000 + end_ms)
    return made


def a_trace(complete: bool = True) -> pb.GetTraceResponse:
    spans = [
        span("StreamGenerate", "", "gateway", 10, 0, 100),
        span("decode", "StreamGenerate", "inference", 12, 40, 90),
        span("screen", "StreamGenerate", "guard", 11, 5, 15, "ERROR"),
    ]
    return pb.GetTraceResponse(trace_id="ab" * 16, spans=spans, complete=complete)


def test_the_waterfall_has_a_row_a_span_under_its_parent_on_one_axis() -> None:
    head, *rows = waterfall(a_trace(), 100)
    assert head == f"trace {'ab' * 16}   3 spans, 3 processes, 100.0 ms"
    assert [row.split()[0] for row in rows] == ["StreamGenerate", "screen", "decode"]
    assert rows[1].startswith("  screen !") and "guard 11" in rows[1] and " 10.0 " in rows[1]
    bars = [row.split()[-1] for row in rows]
    assert len({len(bar) for bar in bars}) == 1 and max(map(len, rows)) <= 100
    assert set(bars[0]) == {"█"}
    width = len(bars[0])
    assert bars[2].index("█") == 40 * width // 100 and bars[2].count("█") == round(50 * width / 100)


def test_a_span_whose_parent_has_not_arrived_is_shown_all_the_same() -> None:
    trace = pb.GetTraceResponse(spans=[span("decode", "lost", "inference", 12, 0, 1)])
    assert waterfall(trace, 80)[1].startswith("decode")


def test_it_waits_until_the_trace_is_complete(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.traces = [a_trace(complete=False), a_trace()]
    assert main(["trace", "r-1", "--json"]) == 0
    printed = capsys.readouterr()
    trace = json.loads(printed.out)
    assert trace["complete"] and len(stack.asked) == 2 and printed.err == ""
    assert {"service", "pid", "name", "start", "end", "parent"} <= set(trace["spans"][0])
    assert trace["spans"][1]["duration_ms"] == 50.0


def test_after_ten_seconds_it_shows_what_there_is() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    trace = whole_trace(lambda method, request: a_trace(complete=False), "r-1", lambda: now[0], sleep)
    assert not trace.complete and len(trace.spans) == 3
    assert 10.0 <= now[0] < 10.2


def test_an_unknown_trace_is_given_the_same_time_and_then_reported() -> None:
    now = [0.0]

    def unknown(method: str, request: object) -> None:
        now[0] += 0.5
        raise NotFound("no such trace")

    with pytest.raises(NotFound, match="no such trace"):
        whole_trace(unknown, "r-1", lambda: now[0], lambda seconds: None)
    assert now[0] >= 5.0
