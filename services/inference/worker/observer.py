"""Whom a worker tells what it did, so that it can be counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.inference.worker.run import Run


@dataclass(frozen=True, slots=True)
class Observer:
    """`stepped` gets a step's seconds, on the engine's thread; the others are called on the event loop."""

    stepped: Callable[[float], None] = lambda seconds: None
    first_token: Callable[[Run], None] = lambda run: None  # not of an answer that another worker began
    ended: Callable[[Run], None] = lambda run: None
