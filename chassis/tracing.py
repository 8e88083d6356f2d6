"""One trace through every service: spans carry ids, counts and names, never content or an exception's text.

A request is chosen where it comes in, and its traceparent tells everybody. Of one that was not chosen, the process that
took it in holds its own spans back as plain times: they become spans if it fails or is slow, and nothing otherwise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from random import getrandbits
from types import TracebackType
from typing import Any, NamedTuple

import grpc
from opentelemetry.trace import SpanKind

from chassis.boundary import Call
from chassis.sampling import Sampler, Tracing

Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute]

MAX_HELD_SPANS = 64  # of a request that was not chosen

# W3C Trace Context; a later version may add fields behind ours.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Finished(NamedTuple):
    """A span that is over. Times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str  # empty for a root
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: Attributes
    failed: bool


class _Outlet:
    """Where this process's spans go, and who decides about those that nobody decided about before."""

    def __init__(self) -> None:
        self.export: Callable[[Finished], None] | None = None
        self.sampler = Sampler(Tracing())


_outlet = _Outlet()


def send_spans_to(export: Callable[[Finished], None] | None, sampler: Sampler | None = None) -> None:
    """Called once, by whoever wires the process. None: nothing is traced."""
    _outlet.export = export
    _outlet.sampler = sampler or Sampler(Tracing())


class Trace:
    """One request's trace in this process."""

    __slots__ = ("_held", "id", "sampled")

    def __init__(self, id: str, sampled: bool) -> None:
        self.id, self.sampled = id, sampled
        self._held: list[Finished] | None = None if sampled else []

    def add(self, finished: Finished) -> None:
        if self._held is None:
            if _outlet.export is not None:
                _outlet.export(finished)
        elif len(self._held) < MAX_HELD_SPANS:
            self._held.append(finished)

    def keep(self) -> None:
        """It failed or was slow: what was held back becomes spans, and so does what is still to come."""
        if self._held is not None and _outlet.export is not None and _outlet.sampler.keeps():
            held, self._held = self._held, None
            for finished in held:
                _outlet.export(finished)


class Place:
    """Where in a trace something happens: what is done next becomes a child of this."""

    __slots__ = ("span_id", "trace", "traceparent")

    def __init__(self, trace: Trace, span_id: str) -> None:
        self.trace, self.span_id = trace, span_id
        self.traceparent = f"00-{trace.id}-{span_id}-{'01' if trace.sampled else '00'}" if span_id else ""

    def note(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        span_id: str = "",
        failed: bool = False,
    ) -> None:
        """Work that is over."""
        own = span_id or _new_id(64)
        self.trace.add(
            Finished(self.trace.id, own, self.span_id, name, kind, start_ns, end_ns, attributes or {}, failed)
        )


_current: ContextVar[Place | None] = ContextVar("place", default=None)


def begun(traceparent: str) -> Place:
    """Where a call came in from outside: its trace goes on, or a new one begins, and here it is decided whether it is
    traced. A caller's own choice does not bind us: it could make every request an expensive one."""
    found = _TRACEPARENT.fullmatch(traceparent)
    trace_id, parent = (found[1], found[2]) if found else (_new_id(128), "")
    return Place(Trace(trace_id, _outlet.export is not None and _outlet.sampler.wants(trace_id)), parent)


def carried(traceparent: str) -> Place | None:
    """Where an item of a neighbour comes from; None where nothing of it is traced."""
    if not traceparent or traceparent.endswith("-00") or _outlet.export is None:
        return None
    place = _followed(traceparent)
    return place if place and place.trace.sampled else None


def _followed(traceparent: str) -> Place | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    return Place(Trace(found[1], bool(int(found[3], 16) & 1)), found[2]) if found else None


class span:
    """Work under way; of a failure it keeps that it was one. Without a `parent` it happens at the current place."""

    __slots__ = ("_attributes", "_failed", "_kind", "_name", "_outer", "_place", "_start_ns", "_token")

    def __init__(
        self,
        name: str,
        parent: Place | str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
    ) -> None:
        """`parent`: a place, or the traceparent that an item carried."""
        self._name, self._kind, self._attributes = name, kind, attributes
        self._outer = carried(parent) if isinstance(parent, str) else parent or _current.get()
        self._failed = False

    def __enter__(self) -> span:
        if self._outer is not None:
            self._place = Place(self._outer.trace, _new_id(64))
            self._token: Token[Place | None] = _current.set(self._place)
            self._start_ns = time.time_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer is None:
            return
        _current.reset(self._token)
        self._outer.note(
            self._name, self._start_ns, time.time_ns(), self._attributes,
            kind=self._kind, span_id=self._place.span_id, failed=self._failed or error is not None,
        )  # fmt: skip

    def set_attribute(self, name: str, value: Attribute) -> None:
        self.set_attributes({name: value})

    def set_attributes(self, attributes: Attributes) -> None:
        if self._outer is not None:
            self._attributes = {**(self._attributes or {}), **attributes}

    def fail(self) -> None:
        self._failed = True


class untraced:
    """Work that leaves no span, here or with a neighbour: the hundredth piece of an answer tells what the tenth did."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[Place | None] = _current.set(None)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


async def traced(call: Call, proceed: Callable[[], Awaitable[None]]) -> None:
    """The outermost layer: one server span a call. A batch stream gets none: its items have their own."""
    if call.long_lived:
        await proceed()
        return
    traceparent = str(call.metadata.get("traceparent", ""))
    place = (None if call.from_outside else _followed(traceparent)) or begun(traceparent)
    try:
        with span(call.method.lstrip("/"), place, SpanKind.SERVER) as current:
            try:
                await proceed()
            finally:
                current.set_attribute("rpc.grpc.status_code", _number(call.context.code()))
    except BaseException:
        place.trace.keep()
        raise


def keep_if_odd(*, failed: bool, seconds: float) -> None:
    """Keeps the current trace where nobody chose it, if it failed, or took so long to its first text."""
    place = _current.get()
    if place is not None and (failed or seconds > _outlet.sampler.slow_seconds):
        place.trace.keep()


def finished_span(
    name: str, traceparent: str, start_ns: int, end_ns: int, attributes: Attributes | None = None
) -> None:
    """Records work that is already over, with the wall-clock times it had (nanoseconds since 1970)."""
    if place := carried(traceparent):
        place.note(name, start_ns, end_ns, attributes)


def here() -> Place | None:
    """The current place."""
    return _current.get()


def traceparent() -> str:
    """The W3C context of the current place, to be carried in an item or a job."""
    place = _current.get()
    return place.traceparent if place else ""


def trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits."""
    place = _current.get()
    return place.trace.id if place else "0" * 32


def _new_id(bits: int) -> str:
    return f"{getrandbits(bits) or 1:0{bits // 4}x}"


def _number(code: Any) -> int:
    """gRPC keeps a plain 0 until a handler sets a code, and a StatusCode after."""
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code or 0)
