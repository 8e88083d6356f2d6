"""Traces as HTML. Everything that came from outside passes `escape`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from chassis.genai import REQUEST_ID
from services.monitor.traces.span import Span
from services.monitor.traces.store import Trace
from services.monitor.traces.waterfall import Row, rows, ticks

STYLE = (files("services.monitor") / "page.css").read_text(encoding="utf-8")
SERVICES = ("gateway", "guard", "inference", "audit", "monitor")
RELOAD_SECONDS = 5
BACK = '<p class="back"><a href="/">All traces</a></p>'


def trace_list_page(traces: Sequence[Trace], kept: int, evicted: int) -> str:
    """The recent traces, newest first."""
    if not traces:
        body = (
            '<p class="empty">No trace has arrived yet. Ask something, and its path appears here:</p>'
            "<pre>strongroom ask &quot;What is a ledger?&quot;</pre>"
        )
        return _page("Traces", body, reload=True)
    longest_ms = max(trace.duration_ms for trace in traces)
    lines = "".join(_line(trace, longest_ms) for trace in traces)
    left = f", {evicted:,} made room" if evicted else ""
    body = f"""
<p class="note">{len(traces)} newest of {kept:,} kept{left}. Reloads every {RELOAD_SECONDS} s.</p>
<table class="traces">
<thead><tr><th>Began (UTC)</th><th>What</th><th>Services</th><th class="number">Spans</th>
<th class="number">Duration</th><th></th></tr></thead>
<tbody>{lines}</tbody>
</table>"""
    return _page("Traces", body, reload=True)


def trace_page(trace: Trace) -> str:
    """One trace as a waterfall."""
    state = "complete" if trace.complete else "still arriving, or parts are missing"
    dropped = f" · {trace.dropped:,} spans over the bound were dropped" if trace.dropped else ""
    ids = [("Trace", trace.trace_id)] + ([("Request", trace.request_id)] if trace.request_id else [])
    shown_ids = "".join(f"<dt>{label}</dt><dd><code>{escape(id)}</code></dd>" for label, id in ids)
    processes = len({(span.service, span.pid) for span in trace.spans})
    duration = _milliseconds(trace.duration_ms)
    began = _time(trace.start_ns, "%Y-%m-%d %H:%M:%S")
    body = f"""
{BACK}
<h2>{escape(_short(trace.root.name))} {_failed(trace.failed)}</h2>
<dl class="facts">
<dt>Duration</dt><dd><strong>{duration}</strong></dd>
<dt>Began</dt><dd>{began} UTC</dd>
<dt>Spans</dt><dd>{len(trace.spans)} from {processes} process{"es" if processes != 1 else ""}, {state}{dropped}</dd>
{shown_ids}
</dl>
<p class="legend">{_badges(trace)}</p>
<div class="waterfall" style="--step:{_step_percent(trace):.3f}%">
{_axis(trace)}
{"".join(_row(row) for row in rows(trace))}
</div>
<p class="note">Open a row for its attributes. Spans carry ids, counts and names, never a prompt or an answer.</p>"""
    return _page(f"Trace {trace.trace_id[:8]}", body)


def message_page(title: str, advice: str) -> str:
    """A sentence instead of a trace."""
    return _page(
        title, f'<h2>{escape(title)}</h2><p>{escape(advice)}</p><p class="back"><a href="/">All traces</a></p>'
    )


def _page(title: str, body: str, reload: bool = False) -> str:
    again = f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">' if reload else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">{again}<link rel="icon" href="data:,">
<title>{escape(title)} · Strongroom</title><style>{STYLE}</style></head>
<body><header><h1><a href="/">Strongroom <span>monitor</span></a></h1></header><main>{body}</main></body></html>"""


def _line(trace: Trace, longest_ms: float) -> str:
    share = trace.duration_ms / longest_ms * 100 if longest_ms else 0
    id = escape(trace.request_id or trace.trace_id)
    kind = "request" if trace.request_id else "trace"
    return f"""<tr>
<td class="time"><span class="date">{_time(trace.start_ns, "%m-%d")}</span> {_time(trace.start_ns, "%H:%M:%S")}</td>
<td class="what"><a href="/traces/{escape(trace.trace_id)}">{escape(_short(trace.root.name))}</a>{_failed(trace.failed)}
<small>{kind} {id}</small></td>
<td class="services">{_badges(trace)}</td>
<td class="number">{len(trace.spans)}</td>
<td class="number">{_milliseconds(trace.duration_ms)}</td>
<td class="share"><i style="width:{share:.1f}%"></i></td>
</tr>"""


def _axis(trace: Trace) -> str:
    whole = trace.duration_ms or 1
    marks = "".join(
        f'<span style="left:{at / whole * 100:.3f}%">{_milliseconds(at) if at else "0"}</span>'
        for at in ticks(trace.duration_ms)
        if at <= whole * 0.95  # else its label would run over the edge
    )
    return f'<div class="axis"><div class="label"></div><div class="track">{marks}</div></div>'


def _step_percent(trace: Trace) -> float:
    """How far apart the marks of the axis stand."""
    marks = ticks(trace.duration_ms)
    return marks[1] / trace.duration_ms * 100 if len(marks) > 1 else 100.0


def _row(row: Row) -> str:
    span = row.span
    place = f"left:{row.left * 100:.3f}%;width:{row.width * 100:.3f}%"
    side = "after" if row.left + row.width < 0.8 else "before" if row.left > 0.2 else "inside"
    note = ' <small class="warn">parent missing</small>' if row.parent_missing else ""
    title = f"{span.name} · {span.service} · pid {span.pid}"
    return f"""<details class="{_kind(span.service)}"><summary>
<div class="label" style="--depth:{min(row.depth, 12)}" title="{escape(title)}"><b>{escape(_short(span.name))}</b>
<small>{escape(span.service)} {span.pid or ""}</small>{note}{_failed(span.status == "ERROR")}</div>
<div class="track"><i style="{place}"></i>
<em class="{side}" style="{_label_place(row, side)}">{_milliseconds(row.duration_ms)}</em></div>
</summary>{_attributes(span)}</details>
"""


def _label_place(row: Row, side: str) -> str:
    if side == "before":
        return f"right:{(1 - row.left) * 100:.3f}%"
    return f"left:{(row.left + (row.width if side == 'after' else 0)) * 100:.3f}%"


def _attributes(span: Span) -> str:
    own = {"span": span.span_id, "parent": span.parent_span_id or "none: this is the root", "name": span.name}
    # The request's id first: it is what the audit log calls the record.
    ordered = sorted(span.attributes.items(), key=lambda pair: (pair[0] != REQUEST_ID, pair[0]))
    cells = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in [*own.items(), *ordered])
    return f"<dl>{cells}</dl>"


def _badges(trace: Trace) -> str:
    names = {span.service for span in trace.spans}
    ordered = [name for name in SERVICES if name in names] + sorted(names.difference(SERVICES))
    return " ".join(f'<span class="badge {_kind(name)}">{escape(name)}</span>' for name in ordered)


def _kind(service: str) -> str:
    """A class of the style sheet; only our own names become one."""
    return f"of-{service}" if service in SERVICES else "of-other"


def _failed(failed: bool) -> str:
    return ' <span class="badge error">error</span>' if failed else ""


def _short(name: str) -> str:
    """`strongroom.gateway.v1.GatewayService/Generate` reads as `GatewayService/Generate`."""
    path, slash, method = name.partition("/")
    return f"{path.rpartition('.')[2]}/{method}" if slash else name


def _time(ns: int, layout: str) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime(layout)


def _milliseconds(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    if value >= 1_000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"
