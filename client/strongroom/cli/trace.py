"""`strongroom trace`: where one request's time went, over all processes."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from strongroom.cli.ending import OK
from strongroom.cli.services import Call, calling
from strongroom.failures import CallFailed
from strongroom.location import locate
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc as rpc

COMPLETE_SECONDS = 10.0  # spans are sent by each process in its own time
PAUSE_SECONDS = 0.1
MIN_BAR, MAX_WIDTH = 10, 160


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("trace", parents=[shared], help="show where a request's time went")
    parser.add_argument("id", metavar="ID", help="a request id or a trace id")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with calling(locate(arguments.home), "monitor", rpc.MonitorServiceStub) as call:
        trace = whole_trace(call, arguments.id)
    if arguments.json:
        print(json.dumps(as_json(trace), ensure_ascii=False, indent=2))
    else:
        print("\n".join(waterfall(trace, shutil.get_terminal_size((100, 24)).columns)))
    if not trace.complete:
        print("some spans have not arrived; the trace is shown as far as it is known", file=sys.stderr)
    return OK


def whole_trace(
    call: Call, trace_or_request: str, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> pb.GetTraceResponse:  # fmt: skip
    """Asks until the trace is complete; after 10 s, what has arrived. Raises CallFailed if nothing has."""
    patience = clock() + COMPLETE_SECONDS
    while True:
        try:
            trace: pb.GetTraceResponse = call("GetTrace", pb.GetTraceRequest(id=trace_or_request))
            if trace.complete or clock() >= patience:
                return trace
        except CallFailed as failure:
            if failure.code != "NOT_FOUND" or clock() >= patience:
                raise
        sleep(PAUSE_SECONDS)


def as_json(trace: pb.GetTraceResponse) -> dict[str, object]:
    """The spans, by start."""
    return {
        "trace_id": trace.trace_id,
        "complete": trace.complete,
        "spans": [
            {
                "span_id": span.span_id,
                "parent": span.parent_span_id,
                "service": span.service,
                "pid": span.pid,
                "name": span.name,
                "start": span.start_time.ToJsonString(),
                "end": span.end_time.ToJsonString(),
                "duration_ms": (span.end_time.ToNanoseconds() - span.start_time.ToNanoseconds()) / 1e6,
                "status": span.status,
                "attributes": dict(sorted(span.attributes.items())),
            }
            for span in trace.spans
        ],
    }


def waterfall(trace: pb.GetTraceResponse, width: int) -> list[str]:
    """A line a span: name indented by depth, service, process, milliseconds, and its bar on one time axis."""
    if not trace.spans:
        return [f"trace {trace.trace_id} has no spans"]
    begin = min(span.start_time.ToNanoseconds() for span in trace.spans)
    total = max(max(span.end_time.ToNanoseconds() for span in trace.spans) - begin, 1)
    rows = []
    for span, depth in _by_depth(trace):
        took = (span.end_time.ToNanoseconds() - span.start_time.ToNanoseconds()) / 1e6
        name = "  " * depth + span.name.rpartition("/")[2] + (" !" if span.status == "ERROR" else "")
        rows.append((name, f"{span.service} {span.pid}", f"{took:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    room = max(min(width, MAX_WIDTH) - sum(widths) - 7, MIN_BAR)
    processes = len({(span.service, span.pid) for span in trace.spans})
    lines = [f"trace {trace.trace_id}   {len(trace.spans)} spans, {processes} processes, {total / 1e6:.1f} ms"]
    for (span, _), (name, where, took_ms) in zip(_by_depth(trace), rows):
        bar = _bar(span.start_time.ToNanoseconds() - begin, span.end_time.ToNanoseconds() - begin, total, room)
        lines.append(f"{name:<{widths[0]}}  {where:<{widths[1]}}  {took_ms:>{widths[2]}}  {bar}")
    return lines


def _by_depth(trace: pb.GetTraceResponse) -> list[tuple[pb.Span, int]]:
    """Children under their parents, by start; a span whose parent has not arrived stands as a root."""
    known = {span.span_id for span in trace.spans}
    children: dict[str, list[pb.Span]] = {}
    for span in sorted(trace.spans, key=lambda span: span.start_time.ToNanoseconds()):
        children.setdefault(span.parent_span_id if span.parent_span_id in known else "", []).append(span)
    ordered: list[tuple[pb.Span, int]] = []
    pending = [(span, 0) for span in reversed(children.get("", []))]
    while pending:
        span, depth = pending.pop()
        ordered.append((span, depth))
        pending += [(child, depth + 1) for child in reversed(children.pop(span.span_id, []))]
    return ordered


def _bar(start: int, end: int, total: int, room: int) -> str:
    first = min(start * room // total, room - 1)
    length = max(round((end - start) * room / total), 1)
    return "·" * first + "█" * min(length, room - first) + "·" * max(room - first - length, 0)
