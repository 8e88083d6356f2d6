"""The overview: a status as blocks of HTML, each of which can be put in the place of an older one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from services.monitor.definition.rules import Definition, Rule
from services.monitor.page import panels
from services.monitor.page.charts import drawing, last_known, latest
from services.monitor.page.mood import firing, mood, pending, ready, silent
from services.monitor.page.panels import PANELS, Line, Panel, thresholds
from services.monitor.page.rendering import rendered
from services.monitor.page.visit import Visit
from services.monitor.page.words import Words
from services.monitor.status.snapshot import Status

MAX_ROWS = 8  # of a table that labels make as long as they like
BLOCKS = ("banner", "queue", "workers", "guard", "audit", "services", "machine", "resolved", "traces")
Fact = tuple[str, float | None, str]  # label, value, unit


def overview_blocks(status: Status, context: Mapping[str, Any], visit: Visit) -> dict[str, Markup]:
    """By name. `context` holds what the status does not: the time, the traces, the stack's home."""
    words = Words(visit.language)
    shared = {**context, **_facts_of(status, words), "mood": mood(status, context["now"])}
    blocks = {name: rendered(f"blocks/{name}.html", visit, shared) for name in BLOCKS}
    for panel in PANELS:
        own = {"panel": panel, "figures": _figures(panel, status), "facts": _beside(panel, status, words)}
        blocks[f"panel-{panel.id}"] = rendered("blocks/panel.html", visit, {**shared, **own})
    return blocks


def overview_page(
    status: Status, definition: Definition, context: Mapping[str, Any], blocks: Mapping[str, Markup], visit: Visit
) -> str:
    words = Words(visit.language)
    marks = {panel.id: thresholds(panel, definition) for panel in PANELS}
    own = {
        "at": "overview",
        "blocks": blocks,
        "title": title(status, context["now"], words),
        "panels": panels,
        "marks": marks,
        "labels": lambda panel: [words(line.word) for line in panel.lines],
        "drawing": lambda panel: drawing(panel, status.history, marks[panel.id]),
    }
    return rendered("overview.html", visit, {**context, **own})


def title(status: Status, now: float, words: Words) -> str:
    """Of the browser's tab: it is read while another one is in front."""
    return words(mood(status, now).word, n=len(firing(status)))


def _facts_of(status: Status, words: Words) -> dict[str, Any]:
    audit, guard = status.audit, status.guard
    verdicts = sorted(guard.verdicts, key=lambda verdict: -verdict.per_second)
    return {
        "status": status,
        "firing": firing(status),
        "pending": pending(status),
        "silent": lambda service: silent(status, service),
        "ready": sum(ready(service) for service in status.services),
        "serving": sorted(model for model, workers in status.models.items() if workers),
        "workers": math.ceil(sum(status.models.values())),
        "verdicts": [verdict for verdict in verdicts if verdict.per_second > 0],
        "findings": _largest(guard.findings_per_second)[:MAX_ROWS],
        "uncovered": (audit.tree_entries or 0) - (audit.checkpoint_entries or 0),
        "problem": lambda problem: _problem(problem, words),
        "counts": _counts,
        "known": lambda word: word in words,
        "max_rows": MAX_ROWS,
    }


def _figures(panel: Panel, status: Status) -> Sequence[tuple[Line, float | None, bool]]:
    """Each line's value; of a service that is silent the last one known, which is marked as old."""
    history, quiet = status.history, silent(status, panel.source)
    read = last_known if quiet else latest
    return [(line, read(line.series, history), bool(quiet)) for line in panel.lines]


def _beside(panel: Panel, status: Status, words: Words) -> list[Fact]:
    """What stands under the panel's own lines, and has none in the chart."""
    if panel is panels.REQUESTS:
        ends = [(_end(end, words), rate, "/s") for end, rate in _largest(status.traffic.ends_per_second)]
        return [(words("in_flight"), status.traffic.in_flight_requests, ""), *ends]
    if panel is panels.ERRORS:
        turned_away = status.traffic.turned_away_per_second
        return [
            (words("turned_away"), sum(turned_away.values()) if turned_away else None, "/s"),
            *((reason, rate, "/s") for reason, rate in _largest(turned_away)[:MAX_ROWS]),
        ]
    if panel is panels.FIRST_TOKEN:
        return [(words("between_tokens"), status.latency.output_token_p95, "seconds")]
    if panel is panels.TOKENS:
        return [(words("engine_step"), status.latency.step_p95, "seconds")]
    if panel is panels.LATENCY:
        return [(words("first_text"), status.latency.first_text_p95, "seconds")]
    return []


def _largest(rates: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, rate) for name, rate in rates.items() if rate > 0), key=lambda pair: (-pair[1], pair[0]))


def _end(end: str, words: Words) -> str:
    word = f"end_{end.lower()}"
    return words(word) if word in words else end


def _counts(rule: Rule) -> bool:
    """Whether its value says more than that it is so: below 1 and above 0 are yes and no."""
    condition = rule.condition
    return bool(rule.unit) or condition.threshold != (1 if condition.below else 0)


def _problem(problem: str, words: Words) -> str:
    known = f"problem_{problem}" in words
    return words(f"problem_{problem}") if known else words("problem_other", problem=problem or "–")
