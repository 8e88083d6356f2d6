"""What is counted of a request that is over: words and numbers, no content and no ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NOT_ACCEPTED = "NOT_ACCEPTED"  # an end without a record: guard, audit or queue went away, or the caller, before one


@dataclass(frozen=True, slots=True)
class Account:
    """`end` is the record's, or REFUSED, or NOT_ACCEPTED. `verdict` is empty where the guard gave none."""

    model: str
    priority: str
    end: str
    error: str  # the reason of what the caller was told; empty with status OK
    verdict: str
    rule: str
    releases: int
    released_bytes: int
    input_tokens: int
    output_tokens: int
    seconds: float
    first_release_seconds: float | None


@dataclass(frozen=True, slots=True)
class Observer:
    """Told of every request that is over, and of the reason for which one was not even begun."""

    ended: Callable[[Account], None] = lambda account: None
    turned_away: Callable[[str], None] = lambda reason: None
