"""The engine's outlet: passes everything on to the event loop and returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.inference.engine.protocol import EngineRefusal, StepOutput


class Handover:
    """What it is given is called, and set, on `loop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        outputs: Callable[[Sequence[StepOutput]], None],
        refused: Callable[[str, EngineRefusal], None],
        room_changed: asyncio.Event,
        died: asyncio.Event,
    ) -> None:
        self._loop, self._outputs, self._refused = loop, outputs, refused
        self._room_changed, self._died = room_changed, died

    def outputs(self, outputs: Sequence[StepOutput]) -> None:
        self._loop.call_soon_threadsafe(self._outputs, outputs)

    def refused(self, request_id: str, refusal: EngineRefusal) -> None:
        self._loop.call_soon_threadsafe(self._refused, request_id, refusal)

    def room_changed(self) -> None:
        self._loop.call_soon_threadsafe(self._room_changed.set)

    def died(self) -> None:
        self._loop.call_soon_threadsafe(self._died.set)
