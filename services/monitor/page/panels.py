"""The panels: which of the history's lines each one draws, and in which unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.monitor.definition.rules import Definition


@dataclass(frozen=True, slots=True)
class Line:
    """`series` is a key of the history; `word` one of the page's words."""

    series: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The line at `head` is the one whose value stands large."""

    id: str  # also its title's word
    unit: str
    lines: tuple[Line, ...]
    source: str  # the service whose silence makes it stale
    head: int = 0
    top: float | None = None  # of the axis, where it has one


CLASSES = ("interactive", "standard", "batch")
REQUESTS = Panel(
    id="requests_per_second",
    unit="/s",
    lines=(Line("requests_per_second", "all_requests"),),
    source="gateway",
)
ERRORS = Panel(id="error_rate", unit="ratio", lines=(Line("error_ratio", "failed_share"),), source="gateway")
LATENCY = Panel(
    id="latency",
    unit="seconds",
    lines=(Line("request_p50", "p50"), Line("request_p95", "p95"), Line("request_p99", "p99")),
    source="gateway",
    head=1,
)
FIRST_TOKEN = Panel(
    id="first_token",
    unit="seconds",
    lines=(
        Line("first_token_p50", "p50"),
        Line("first_token_p95", "p95"),
        Line("first_text_interactive_p95", "interactive_caller"),
    ),
    source="inference",
    head=1,
)
TOKENS = Panel(
    id="tokens_per_second",
    unit="/s",
    lines=(Line("output_tokens_per_second", "output"), Line("prompt_tokens_per_second", "prompt")),
    source="inference",
)
EFFICIENCY = Panel(
    id="batch_efficiency",
    unit="ratio",
    lines=(Line("useful_token_ratio", "useful_tokens"), Line("slot_fill_ratio", "slot_fill")),
    source="inference",
    top=1.0,
)
QUEUE = Panel(
    id="queue",
    unit="",
    lines=tuple(Line(f"queue_waiting/{name}", name) for name in CLASSES),
    source="gateway",
)
COMMITS = Panel(
    id="commit_latency",
    unit="seconds",
    lines=(Line("commit_p50", "p50"), Line("commit_p99", "p99")),
    source="audit",
    head=1,
)
PANELS = (REQUESTS, ERRORS, LATENCY, FIRST_TOKEN, TOKENS, EFFICIENCY, QUEUE, COMMITS)


def thresholds(panel: Panel, definition: Definition) -> Sequence[float]:
    """Those of the rules that judge one of the panel's own lines; the window may differ."""
    figures = {figure.id: figure.quantity for figure in definition.figures}
    drawn = [figures[id] for line in panel.lines if (id := line.series.partition("/")[0]) in figures]
    judged = {(type(quantity), quantity.selections, getattr(quantity, "q", None)) for quantity in drawn}
    return sorted(
        {
            rule.condition.threshold
            for rule in definition.rules
            if (type(quantity := rule.condition.quantity), quantity.selections, getattr(quantity, "q", None)) in judged
        }
    )
