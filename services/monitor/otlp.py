"""OTLP spans as our own: what is kept of them, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.monitor.traces.span import Span

MAX_ATTRIBUTES = 64
MAX_KEY_CHARACTERS = 128
MAX_TEXT_CHARACTERS = 256  # ids, counts and names are shorter; what is longer is cut
STATUSES = {1: "OK", 2: "ERROR"}  # opentelemetry.proto.trace.v1.Status.StatusCode


class MalformedSpan(ValueError):
    """The span names no place in a trace; says which field is wrong, never what stood there."""


def span(message: Any, service: str, pid: int) -> Span:
    """Our span of an opentelemetry.proto.trace.v1.Span. Events and links, which may hold content, are left out."""
    start_ns = int(message.start_time_unix_nano)
    return Span(
        trace_id=_id(message.trace_id, 16, "trace_id"),
        span_id=_id(message.span_id, 8, "span_id"),
        parent_span_id=_id(message.parent_span_id, 8, "parent_span_id") if message.parent_span_id else "",
        name=message.name[:MAX_TEXT_CHARACTERS],
        service=service,
        pid=pid,
        start_ns=start_ns,
        end_ns=max(start_ns, int(message.end_time_unix_nano)),
        attributes=attributes(message.attributes),
        status=STATUSES.get(message.status.code, ""),
    )


def attributes(pairs: Iterable[Any]) -> Mapping[str, str]:
    """Attribute values as text, the first of them if they are many."""
    kept: dict[str, str] = {}
    for pair in pairs:
        if len(kept) == MAX_ATTRIBUTES:
            break
        kept[pair.key[:MAX_KEY_CHARACTERS]] = _text(pair.value)[:MAX_TEXT_CHARACTERS]
    return kept


def process_id(resource_attributes: Iterable[Any]) -> int:
    """The reporting process; 0 where the resource does not say."""
    for pair in resource_attributes:
        if pair.key == "process.pid":
            return int(pair.value.int_value)
    return 0


def _id(raw: bytes, length: int, field: str) -> str:
    if len(raw) != length or not any(raw):
        raise MalformedSpan(f"{field}: is not {length} bytes, or is all zero")
    return raw.hex()


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    match kind:
        case "string_value" | "int_value":
            return str(getattr(value, kind))
        case "double_value":
            return f"{value.double_value:g}"
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "array_value":
            return ", ".join(_text(item) for item in value.array_value.values[:16])
        case _:
            return ""
