"""The state of every alert, from one evaluation to the next.

          holds                 has held for `for`             no longer, for `keep`
(nothing) ─────> PENDING ─────────────────────> FIRING ─────────────────────────────> RESOLVED, remembered
                    └─ no longer: forgotten        └─ holds again within `keep`: goes on
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.quantities import Key
from services.monitor.definition.rules import Rule, Severity
from services.monitor.definition.selection import Samples

Place = tuple[str, Key]  # a rule's id, and where it holds
SEVERITIES = list(Severity)


@dataclass(frozen=True, kw_only=True)
class BoardBounds:
    alerts: int = 256  # labels come from targets: what exceeds this is counted, not kept
    remembered: int = 100
    # Who did not look for so long cannot say that something held without a break: a laptop slept, the clock jumped.
    unseen_seconds: float = 30.0


class AlertBoard:
    """`now` is Unix time, given with each evaluation: the board has no clock of its own."""

    def __init__(self, rules: Sequence[Rule], bounds: BoardBounds | None = None) -> None:
        self._rules, self._bounds = rules, bounds or BoardBounds()
        self._alerts: dict[Place, Alert] = {}
        self._held: dict[Place, float] = {}  # when each last held
        self._resolved: deque[Alert] = deque(maxlen=self._bounds.remembered)
        self._evaluated: float | None = None
        self.fired: Counter[str] = Counter()  # by severity
        self.overflow = 0  # alerts for which there was no room, each time they were seen

    def evaluate(self, samples: Samples, now: float) -> list[Alert]:
        """Looks at every rule; returns what began to fire and what resolved, in the order of the rules."""
        if self._evaluated is not None and not 0 <= now - self._evaluated <= self._bounds.unseen_seconds:
            self._forget_pending()
        self._evaluated = now
        changes: list[Alert] = []
        for rule in self._rules:
            holding = rule.holding(samples, now)
            for key, value in holding.items():
                changes += self._holds(rule, key, value, now)
            gone = [p for p in self._alerts if p[0] == rule.id and p[1] not in holding]
            for place in gone:
                changes += self._holds_no_more(place, now)
        return self._covered(changes)

    @property
    def active(self) -> list[Alert]:
        """Firing first, then pending; the more severe first, then the older."""
        order = sorted(
            self._alerts.values(),
            key=lambda a: (a.state is not State.FIRING, SEVERITIES.index(a.rule.severity), a.since),
        )
        return self._covered(order)

    @property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.active if alert.state is State.FIRING]

    @property
    def recent(self) -> list[Alert]:
        """Resolved ones, the last first."""
        return list(reversed(self._resolved))

    def _holds(self, rule: Rule, key: Key, value: float, now: float) -> Iterable[Alert]:
        place = (rule.id, key)
        before = self._alerts.get(place)
        if before is None and len(self._alerts) >= self._bounds.alerts:
            self.overflow += 1
            return
        alert = before or Alert(rule=rule, key=key, state=State.PENDING, value=value, since=now)
        alert = replace(alert, value=value)
        fires = alert.state is State.PENDING and now - alert.since >= rule.for_seconds
        if fires:
            alert = replace(alert, state=State.FIRING, fired=now)
            self.fired[rule.severity] += 1
        self._alerts[place], self._held[place] = alert, now
        if fires:
            yield alert

    def _holds_no_more(self, place: Place, now: float) -> Iterable[Alert]:
        alert = self._alerts[place]
        if alert.state is State.FIRING and 0 <= now - self._held[place] < alert.rule.keep_seconds:
            return
        del self._alerts[place], self._held[place]
        if alert.state is State.FIRING:
            resolved = replace(alert, state=State.RESOLVED, resolved=now)
            self._resolved.append(resolved)
            yield resolved

    def _forget_pending(self) -> None:
        for place, alert in list(self._alerts.items()):
            if alert.state is State.PENDING:
                del self._alerts[place], self._held[place]

    def _covered(self, alerts: Iterable[Alert]) -> list[Alert]:
        covering = [a for a in self._alerts.values() if a.state is State.FIRING and a.rule.covers]
        return [replace(alert, covered=any(_covers(other, alert) for other in covering)) for alert in alerts]


def _covers(other: Alert, alert: Alert) -> bool:
    """Where both rules tell places apart by the same labels, only in the same place."""
    return other.rule.covers == alert.rule.id and (other.rule.by != alert.rule.by or other.key == alert.key)
