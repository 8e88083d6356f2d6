"""All pages of the site, each as a function of what is known now and of what a reader asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from services.monitor.definition.rules import Definition
from services.monitor.page.live import MOST_STREAMS, View
from services.monitor.page.overview import overview_blocks, overview_page, title
from services.monitor.page.rendering import rendered
from services.monitor.page.requests import trace_context, trace_page
from services.monitor.page.visit import Visit
from services.monitor.page.words import Words
from services.monitor.status.snapshot import Status
from services.monitor.traces.store import TraceStore

OVERVIEW, TRACES = "overview", "traces"
BRIEFLY_LISTED, LISTED = 8, 50
RELOAD_SECONDS = 5
FRESH_SECONDS = 0.5  # for which a view is shared by all who look at the same page


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What a page says of the stack that it belongs to."""

    home: str
    development: bool = True
    insecure: bool = False

    @property
    def modes(self) -> list[str]:
        """Words of the page."""
        return ["development"] * self.development + ["insecure"] * self.insecure


class Site:
    """`status` gives the last snapshot; `clock` counts Unix seconds."""

    def __init__(
        self,
        stack: Stack,
        definition: Definition,
        status: Callable[[], Status],
        store: TraceStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stack, self._definition, self._status, self._store = stack, definition, status, store
        self._clock = clock
        self._views: dict[tuple[str, str, str], View] = {}  # two pages, two languages, each chosen or not

    def overview(self, visit: Visit) -> str:
        status, context = self._status(), self._context(BRIEFLY_LISTED)
        blocks = overview_blocks(status, context, visit)
        return overview_page(status, self._definition, context, blocks, visit)

    def traces(self, visit: Visit) -> str:
        context = self._context(LISTED)
        return rendered("traces.html", visit, {**context, "at": TRACES, "blocks": _trace_list(context, visit)})

    def trace(self, id: str, visit: Visit) -> str | None:
        """None where it is not kept."""
        found = self._store.find(id)
        return trace_page(found, self._context(0), visit) if found else None

    def message(self, word: str, visit: Visit) -> str:
        """A sentence in place of what was asked for."""
        return rendered("message.html", visit, {**self._context(0), "at": "", "word": word})

    def view(self, at: str, visit: Visit) -> View:
        """What a live page shows now. Rendered once for all who look at it, however many they are."""
        key, now = (at, visit.language, visit.chosen), self._clock()
        kept = self._views.get(key)
        if kept is None or not 0 <= now - kept.time < FRESH_SECONDS:
            kept = self._views[key] = self._view(at, visit, now)
        return kept

    def _view(self, at: str, visit: Visit, now: float) -> View:
        words = Words(visit.language)
        if at == TRACES:
            return View(time=now, title=words("requests"), blocks=_trace_list(self._context(LISTED), visit))
        status = self._status()
        blocks = overview_blocks(status, self._context(BRIEFLY_LISTED), visit)
        return View(time=now, title=title(status, now, words), blocks=blocks, history=status.history)

    def _context(self, listed: int) -> dict[str, Any]:
        traces = self._store.newest(LISTED) if listed else []
        if listed < LISTED:  # what is no request, such as a look at the models, is on the longer list only
            traces = [trace for trace in traces if trace.request_id][:listed]
        return {
            **trace_context(),
            "now": self._clock(),
            "home": self._stack.home,
            "modes": self._stack.modes,
            "traces": traces,
            "kept": len(self._store),
            "evicted": self._store.evicted,
            "most_streams": MOST_STREAMS,
            "reload_seconds": RELOAD_SECONDS,
        }


def _trace_list(context: Mapping[str, Any], visit: Visit) -> dict[str, Markup]:
    return {"trace_list": rendered("blocks/trace_list.html", visit, context)}
