"""The rules' thresholds as colours of a panel: which stretch of numbers is good, which is not, and how bad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from services.monitor.definition.quantities import Quantity
from services.monitor.definition.rules import Condition, Definition, Figure, Rule, Severity
from services.monitor.definition.selection import Selection

GOOD = "green"
COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "orange", Severity.NOTICE: "yellow"}
ORDER = list(Severity)  # the most severe first
# A step begins at its value and a rule above it, which differs where whole numbers are counted: at 0.
JUST_ABOVE_NOTHING = 1e-9


def watching(figure: Figure, definition: Definition) -> list[Rule]:
    """The rules on this figure's number: over another window perhaps, or on one of its lines."""
    return [rule for rule in definition.rules if _same_number(rule.condition.quantity, figure.quantity)]


def colour_steps(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Grafana's steps: each colour from its value up to the next one's; the first has no lower end."""
    rules = list(rules)
    bounds = sorted({rule.condition.threshold for rule in rules})
    steps: list[dict[str, Any]] = [{"color": _colour(rules, below=bounds[0]) if bounds else GOOD, "value": None}]
    for bound in bounds:
        colour = _colour(rules, above=bound)
        if colour != steps[-1]["color"]:
            steps.append({"color": colour, "value": bound or JUST_ABOVE_NOTHING})
    return steps


def _colour(rules: Sequence[Rule], *, above: float | None = None, below: float | None = None) -> str:
    """Of the numbers next to a bound, on one side of it."""
    met = [rule.severity for rule in rules if _met(rule.condition, above, below)]
    return COLOURS[min(met, key=ORDER.index)] if met else GOOD


def _met(condition: Condition, above: float | None, below: float | None) -> bool:
    if condition.below:
        return condition.threshold > above if above is not None else True
    return above is not None and condition.threshold <= above


def _same_number(watched: Quantity, shown: Quantity) -> bool:
    if type(watched) is not type(shown) or len(watched.selections) != len(shown.selections):
        return False
    lines = set(shown.by)
    fits = all(_is_line_of(one, other, lines) for one, other in zip(watched.selections, shown.selections, strict=True))
    return fits and _form(watched) == _form(shown)


def _is_line_of(watched: Selection, shown: Selection, lines: set[str]) -> bool:
    """The same series, or those of one of the panel's lines."""
    more = [each for each in watched.where if each not in shown.where]
    return watched.name == shown.name and set(shown.where) <= set(watched.where) and {n for n, _ in more} <= lines


def _form(quantity: Quantity) -> tuple[Any, ...]:
    """What makes another number of the same series: the quantile's share, whether gauges are divided, a rate."""
    return tuple(getattr(quantity, name, None) for name in ("q", "divide", "a_second"))
