"""A rule: which quantity, past which threshold, while what else is so, for how long; and what it means for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.monitor.definition.quantities import Key, Quantity
from services.monitor.definition.selection import Samples, Selection

LANGUAGES = ("en", "zh")


class Severity(StrEnum):
    """How soon somebody should look."""

    CRITICAL = "critical"  # now: requests fail, or soon will
    WARNING = "warning"  # today: something is worse than it should be
    NOTICE = "notice"  # when there is time: shown, nobody is called


@dataclass(frozen=True)
class Text:
    """The same thing said in English and in Chinese."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Condition:
    """A quantity above (or below) a threshold."""

    quantity: Quantity
    threshold: float
    below: bool = False

    def holding(self, samples: Samples, now: float) -> Mapping[Key, float]:
        """The values past the threshold, by the quantity's labels."""
        values = self.quantity.values(samples, now)
        return {key: value for key, value in values.items() if self._past(value)}

    def _past(self, value: float) -> bool:
        return value < self.threshold if self.below else value > self.threshold

    @property
    def sign(self) -> str:
        return "<" if self.below else ">"

    @property
    def promql(self) -> str:
        return f"({self.quantity.promql}) {self.sign} {self.threshold:.10g}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Fires once `condition` and every gate have held for `for_seconds` without a break."""

    id: str  # stable: other people's scripts and silences go by it
    severity: Severity
    condition: Condition
    gates: tuple[Condition, ...] = ()  # their labels are among the condition's
    for_seconds: float = 0.0
    keep_seconds: float = 0.0  # still firing for so long after it last held, so that it does not flap
    unit: str  # of the condition's quantity: seconds, ratio, bytes, or empty for a number
    covers: str = ""  # id of the milder rule that need not be shown while this one fires
    title: Text
    diagnosis: Text
    remedy: Text
    gated_because: Text | None = None  # there whenever there are gates

    @property
    def by(self) -> tuple[str, ...]:
        """The labels that tell this rule's alerts apart."""
        return self.condition.quantity.by

    def holding(self, samples: Samples, now: float) -> Mapping[Key, float]:
        """Where it holds now, and the value there."""
        holding = self.condition.holding(samples, now)
        for gate in self.gates:
            if not holding:
                break
            places = [self.by.index(label) for label in gate.quantity.by]
            open_for = gate.holding(samples, now)
            holding = {k: value for k, value in holding.items() if tuple(k[place] for place in places) in open_for}
        return holding

    @property
    def promql(self) -> str:
        parts = [self.condition.promql]
        parts += [f"and on ({', '.join(gate.quantity.by)}) ({gate.promql})" for gate in self.gates]
        return "\n".join(parts)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return (self.condition, *self.gates)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that people watch: on the page, in its history, and as a panel."""

    id: str
    group: str  # which belong together: traffic, latency, tokens, queue, verdicts, audit, workers, machine
    quantity: Quantity
    unit: str
    title: Text


@dataclass(frozen=True, kw_only=True)
class Definition:
    """All of it."""

    rules: tuple[Rule, ...]
    figures: tuple[Figure, ...]

    def rule(self, id: str) -> Rule:
        return next(rule for rule in self.rules if rule.id == id)

    def figure(self, id: str) -> Figure:
        return next(figure for figure in self.figures if figure.id == id)

    def _quantities(self) -> Iterable[Quantity]:
        yield from (condition.quantity for rule in self.rules for condition in rule.conditions)
        yield from (figure.quantity for figure in self.figures)

    @property
    def selections(self) -> frozenset[Selection]:
        """Every series that is read; nothing else need be kept."""
        return frozenset(selection for quantity in self._quantities() for selection in quantity.selections)

    @property
    def window_seconds(self) -> float:
        """How far back the longest look goes."""
        return max(quantity.window_seconds for quantity in self._quantities())
