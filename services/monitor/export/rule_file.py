"""The rules as Prometheus' rule file: alerts that say in two languages what to do, and the series that panels read."""

from __future__ import annotations

from typing import Any

from services.monitor.definition.quantities import Quantile, Ratio, span
from services.monitor.definition.rules import Definition, Figure, Rule
from services.monitor.export.yaml_text import Block

EVALUATION_SECONDS = 5.0
REMEDY = {"en": "Remedy: ", "zh": "处理："}
# Go templates that Prometheus fills in when an alert is sent.
SHOWN = {"seconds": "{{ $value | humanizeDuration }}", "ratio": "{{ $value | humanizePercentage }}"}
SHOWN_BYTES = "{{ $value | humanize1024 }}B"
SHOWN_NUMBER = "{{ $value | humanize }}"


def rule_file(definition: Definition) -> dict[str, Any]:
    """`keep_firing_for` needs Prometheus 2.42 or newer."""
    figures = [figure for figure in definition.figures if is_recorded(figure)]
    return {
        "groups": [
            _group("strongroom-alerts", [_alert(rule) for rule in definition.rules]),
            _group("strongroom-figures", [_recording(figure) for figure in figures]),
        ]
    }


def alert_name(rule: Rule) -> str:
    """As Prometheus' alerts are named: guard_down is StrongroomGuardDown."""
    return "Strongroom" + "".join(map(str.capitalize, rule.id.split("_")))


def is_recorded(figure: Figure) -> bool:
    """What reads many series for one number is computed once, not by every open dashboard."""
    return isinstance(figure.quantity, Quantile | Ratio)


def recorded_name(figure: Figure) -> str:
    """By Prometheus' convention level:metric:operation, the level being the labels that are left."""
    level = "_".join(figure.quantity.by) or "strongroom"
    return f"{level}:{figure.id}:{span(figure.quantity.window_seconds)}"


def _group(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "interval": span(EVALUATION_SECONDS), "rules": rules}


def _alert(rule: Rule) -> dict[str, Any]:
    times = {"for": rule.for_seconds, "keep_firing_for": rule.keep_seconds}
    return {
        "alert": alert_name(rule),
        "expr": Block(rule.promql),
        **{name: span(seconds) for name, seconds in times.items() if seconds},
        "labels": {"severity": rule.severity.value, "rule": rule.id},
        "annotations": _annotations(rule),
    }


def _annotations(rule: Rule) -> dict[str, str]:
    place = ", ".join(f"{{{{ $labels.{label} }}}}" for label in rule.by)
    where = f" ({place})" if place else ""
    return {
        "summary": rule.title.en + where,
        "description": f"{rule.diagnosis.en} {REMEDY['en']}{rule.remedy.en}",
        "summary_zh": rule.title.zh + where,
        "description_zh": f"{rule.diagnosis.zh}{REMEDY['zh']}{rule.remedy.zh}",
        "value": SHOWN_BYTES if rule.unit == "bytes" else SHOWN.get(rule.unit, SHOWN_NUMBER),
    }


def _recording(figure: Figure) -> dict[str, Any]:
    return {"record": recorded_name(figure), "expr": Block(figure.quantity.promql)}
