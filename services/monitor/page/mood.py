"""What the banner says: the worst of what is known, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.rules import Severity
from services.monitor.status.snapshot import ServiceState, Status

LATE_ROUNDS = 5  # of scrapes, after which the monitor itself counts as hanging
OK = "ok"


@dataclass(frozen=True, slots=True)
class Mood:
    """`severity` is an alert's, or ok; `explained` the word of a sentence in place of the counts."""

    severity: str
    word: str
    explained: str = ""


def mood(status: Status, now: float) -> Mood:
    """A monitor that stands still knows nothing, whatever it last saw."""
    if now - status.time > max(LATE_ROUNDS * status.interval_seconds, LATE_ROUNDS):
        return Mood(Severity.CRITICAL, "monitor_hangs", "monitor_hangs_means")
    if not status.services:
        return Mood(Severity.NOTICE, "nothing_seen", "nothing_seen_means")
    if raised := firing(status):
        return Mood(raised[0].rule.severity, "alerts_firing")
    if not all(ready(service) for service in status.services):
        return Mood(Severity.WARNING, "not_all_ready")
    return Mood(OK, "all_well")


def ready(service: ServiceState) -> bool:
    return service.up and bool(service.ready)


def firing(status: Status) -> Sequence[Alert]:
    """Those to be shown, the most severe first: one that a graver one covers says nothing more."""
    return [alert for alert in status.active if alert.state is State.FIRING and not alert.covered]


def pending(status: Status) -> Sequence[Alert]:
    return [alert for alert in status.active if alert.state is State.PENDING and not alert.covered]


def silent(status: Status, service: str) -> ServiceState | None:
    """The process of that service that has been silent longest; None while one of them answers."""
    states = [state for state in status.services if state.service == service]
    if not states or any(state.up for state in states):
        return None
    return max(states, key=lambda state: float("inf") if state.age_seconds is None else state.age_seconds)
