"""The recent requests as a list, and one of them as a waterfall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.genai import REQUEST_ID
from services.monitor.page.numbers import amount
from services.monitor.page.rendering import SERVICES, rendered
from services.monitor.page.visit import Visit
from services.monitor.page.words import Words
from services.monitor.traces.span import Span
from services.monitor.traces.store import Trace
from services.monitor.traces.waterfall import Row, rows, ticks

EDGE = 0.95  # of the axis, behind which a label would run over its end


def trace_context() -> dict[str, Any]:
    """What templates with traces in them need."""
    return {"short": short, "services_of": services_of}


def trace_page(trace: Trace, context: Mapping[str, Any], visit: Visit) -> str:
    """One trace as a waterfall."""
    own = {
        "at": "",
        "trace": trace,
        "rows": rows(trace),
        "processes": len({(span.service, span.pid) for span in trace.spans}),
        "axis": _axis(trace),
        "step_percent": _step_percent(trace),
        "side": _side,
        "label_place": _label_place,
        "attributes": lambda span: _attributes(span, Words(visit.language)),
    }
    return rendered("trace.html", visit, {**context, **trace_context(), **own})


def services_of(trace: Trace) -> list[str]:
    """Ours in the order of a request's way, then whatever else reported."""
    names = {span.service for span in trace.spans}
    return [name for name in SERVICES if name in names] + sorted(names.difference(SERVICES))


def short(name: str) -> str:
    """`strongroom.gateway.v1.GatewayService/Generate` reads as `GatewayService/Generate`."""
    path, slash, method = name.partition("/")
    return f"{path.rpartition('.')[2]}/{method}" if slash else name


def _axis(trace: Trace) -> Sequence[tuple[float, str]]:
    whole = trace.duration_ms or 1
    return [
        (at / whole * 100, str(amount(at / 1000, "seconds")) if at else "0")
        for at in ticks(trace.duration_ms)
        if at <= whole * EDGE
    ]


def _step_percent(trace: Trace) -> float:
    """How far apart the marks of the axis stand."""
    marks = ticks(trace.duration_ms)
    return marks[1] / trace.duration_ms * 100 if len(marks) > 1 else 100.0


def _side(row: Row) -> str:
    """Of its bar, where a row's duration has room."""
    return "after" if row.left + row.width < 0.8 else "before" if row.left > 0.2 else "inside"


def _label_place(row: Row) -> str:
    side = _side(row)
    if side == "before":
        return f"right:{(1 - row.left) * 100:.3f}%"
    return f"left:{(row.left + (row.width if side == 'after' else 0)) * 100:.3f}%"


def _attributes(span: Span, words: Words) -> list[tuple[str, str]]:
    own = [("span", span.span_id), ("parent", span.parent_span_id or words("root")), ("name", span.name)]
    # The request's id first: it is what the audit log calls the record.
    return [*own, *sorted(span.attributes.items(), key=lambda pair: (pair[0] != REQUEST_ID, pair[0]))]
