"""One piece of work, as a service reported it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from chassis.genai import REQUEST_ID

# What a span costs beside its text: the object, its map and its places in two indexes (measured, CPython 3.11).
OVERHEAD_BYTES = 600


@dataclass(frozen=True, slots=True)
class Span:
    """Carries ids, counts and names, never content. Times are nanoseconds since 1970."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    parent_span_id: str  # empty for the root
    name: str
    service: str
    pid: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str]
    status: str = ""  # "OK", "ERROR" or empty

    @property
    def request_id(self) -> str:
        return self.attributes.get(REQUEST_ID, "")

    @property
    def bytes(self) -> int:
        """Roughly what it takes in memory."""
        texts = sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in self.attributes.items())
        return OVERHEAD_BYTES + sys.getsizeof(self.name) + texts
