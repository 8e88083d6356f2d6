"""Status and alerts as messages of the contract."""

from __future__ import annotations

import math
from collections.abc import Iterator

from strongroom.monitor.v1 import monitor_pb2 as pb

from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.rules import Definition, Severity, Text
from services.monitor.status.assembly import Figures
from services.monitor.status.snapshot import ServiceState, Status

SEVERITIES = {
    Severity.NOTICE: pb.ALERT_SEVERITY_NOTICE,
    Severity.WARNING: pb.ALERT_SEVERITY_WARNING,
    Severity.CRITICAL: pb.ALERT_SEVERITY_CRITICAL,
}
STATES = {
    State.PENDING: pb.ALERT_STATE_PENDING,
    State.FIRING: pb.ALERT_STATE_FIRING,
    State.RESOLVED: pb.ALERT_STATE_RESOLVED,
}
MAX_FIGURES = 1_000  # values; labels come from targets


def status_message(status: Status, definition: Definition, figures: Figures) -> pb.GetStatusResponse:
    message = pb.GetStatusResponse(
        services=[_service(service) for service in status.services],
        active_alerts=[alert_message(alert) for alert in status.active],
        recent_alerts=[alert_message(alert) for alert in status.recent],
    )
    message.figures.extend(figure for figure, _ in zip(_figures(definition, figures), range(MAX_FIGURES)))
    message.time.FromNanoseconds(_nanoseconds(status.time))
    message.interval.FromNanoseconds(_nanoseconds(status.interval_seconds))
    return message


def alert_message(alert: Alert) -> pb.Alert:
    rule = alert.rule
    message = pb.Alert(
        id=alert.id,
        rule_id=rule.id,
        severity=SEVERITIES[rule.severity],
        state=STATES[alert.state],
        labels=alert.labels,
        value=alert.value,
        threshold=rule.condition.threshold,
        unit=rule.unit,
        covered=alert.covered,
        title=_text(rule.title),
        diagnosis=_text(rule.diagnosis),
        remedy=_text(rule.remedy),
    )
    message.since_time.FromNanoseconds(_nanoseconds(alert.since))
    if alert.fired is not None:
        message.fired_time.FromNanoseconds(_nanoseconds(alert.fired))
    if alert.resolved is not None:
        message.resolved_time.FromNanoseconds(_nanoseconds(alert.resolved))
    return message


def _figures(definition: Definition, figures: Figures) -> Iterator[pb.Figure]:
    for figure in definition.figures:
        for key, value in figures.values[figure.id].items():
            if math.isfinite(value):
                labels = dict(zip(figure.quantity.by, key, strict=True))
                yield pb.Figure(id=figure.id, labels=labels, value=value, unit=figure.unit)


def _service(service: ServiceState) -> pb.ServiceStatus:
    message = pb.ServiceStatus(
        service=service.service,
        instance=service.instance,
        up=service.up,
        problem=service.problem,
        ready=service.ready,
        reason=service.reason,
    )
    if service.age_seconds is not None:
        message.age.FromNanoseconds(_nanoseconds(service.age_seconds))
    return message


def _text(text: Text) -> pb.AlertText:
    return pb.AlertText(en=text.en, zh=text.zh)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
