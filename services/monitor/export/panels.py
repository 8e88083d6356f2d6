"""Figures as Grafana's panels: one a figure, and one for the quantiles of the same histogram together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.monitor.definition.quantities import Quantile, span
from services.monitor.definition.rules import Definition, Figure, Rule, Text
from services.monitor.export.rule_file import is_recorded, recorded_name
from services.monitor.export.thresholds import colour_steps, watching

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"": "short", "seconds": "s", "ratio": "percentunit", "bytes": "bytes", "tokens": "short"}
# "Request duration, median" and "请求耗时（中位数）": what is measured, and which quantile of it.
QUANTILE_TITLE = {"en": re.compile(r"(.*), (.*)"), "zh": re.compile(r"(.*)（(.*)）")}
Document = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """What one panel shows; never empty."""

    figures: tuple[Figure, ...]

    @property
    def group(self) -> str:
        return self.figures[0].group

    @property
    def unit(self) -> str:
        return self.figures[0].unit

    @property
    def title(self) -> str:
        first = self.figures[0].title
        return both(first if len(self.figures) == 1 else _split(first)[0])

    def legend(self, figure: Figure) -> str:
        """The labels that tell lines apart, as Grafana fills them in; else which of the quantiles it is."""
        if len(self.figures) > 1:
            return both(_split(figure.title)[1])
        return " ".join(f"{{{{{label}}}}}" for label in figure.quantity.by) or both(figure.title)


def panels(definition: Definition) -> list[Panel]:
    """In the order of the figures."""
    found: list[Panel] = []
    for figure in definition.figures:
        if found and _same_histogram(found[-1].figures[-1], figure):
            found[-1] = Panel((*found[-1].figures, figure))
        else:
            found.append(Panel((figure,)))
    return found


def chart(panel: Panel, definition: Definition) -> Document:
    """Lines over time; dashed ones where a rule's threshold lies."""
    rules = _rules(panel, definition)
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]}
    drawn = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 8,
        "showPoints": "never",
        "spanNulls": False,  # a gap is a gap: nothing was known
        "thresholdsStyle": {"mode": "dashed" if rules else "off"},
    }
    return {
        **_described("timeseries", panel, rules),
        "fieldConfig": _field_config(panel.unit, rules, "palette-classic", {"custom": drawn}),
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def number(panel: Panel, definition: Definition) -> Document:
    """The last value, large, in the colour of the threshold that it has passed."""
    rules = _rules(panel, definition)
    return {
        **_described("stat", panel, rules),
        "fieldConfig": _field_config(panel.unit, rules, "thresholds", {}),
        "options": stat_options(),
    }


def stat_options() -> Document:
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    how = {"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto"}
    return {"reduceOptions": reduced, **how, "wideLayout": True, "showPercentChange": False}


def target(reference: str, expression: str, legend: str) -> Document:
    how = {"editorMode": "code", "range": True, "instant": False}
    return {"refId": reference, "datasource": DATASOURCE, "expr": expression, "legendFormat": legend, **how}


def query(figure: Figure) -> str:
    return recorded_name(figure) if is_recorded(figure) else figure.quantity.promql


def both(text: Text) -> str:
    return f"{text.en} · {text.zh}"


def _described(kind: str, panel: Panel, rules: Sequence[Rule]) -> Document:
    lines = [target(chr(ord("A") + n), query(each), panel.legend(each)) for n, each in enumerate(panel.figures)]
    description = "\n\n".join(map(_threshold_text, rules))
    return {
        "type": kind,
        "title": panel.title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": lines,
    }


def _threshold_text(rule: Rule) -> str:
    """What a threshold means, and what else must be so."""
    held = f" ({span(rule.for_seconds)})" if rule.for_seconds else ""
    gate = f" — {both(rule.gated_because)}" if rule.gated_because else ""
    return f"**{rule.severity}**{held}: {both(rule.title)}{gate}"


def _field_config(unit: str, rules: Iterable[Rule], colours: str, more: Document) -> Document:
    """From 0 up: nothing that is watched is negative."""
    steps = {"mode": "absolute", "steps": colour_steps(rules)}
    defaults = {"unit": UNITS[unit], "min": 0, "color": {"mode": colours}, "thresholds": steps, **more}
    return {"defaults": defaults, "overrides": []}


def _rules(panel: Panel, definition: Definition) -> list[Rule]:
    found = [rule for figure in panel.figures for rule in watching(figure, definition)]
    return list(dict.fromkeys(found))


def _same_histogram(one: Figure, other: Figure) -> bool:
    a, b = one.quantity, other.quantity
    if not isinstance(a, Quantile) or not isinstance(b, Quantile):
        return False
    return (a.of, a.by, a.window_seconds, one.group) == (b.of, b.by, b.window_seconds, other.group)


def _split(title: Text) -> tuple[Text, Text]:
    parts = {language: pattern.fullmatch(title.of(language)) for language, pattern in QUANTILE_TITLE.items()}
    if not all(parts.values()):
        raise ValueError(f"{title.en!r} or {title.zh!r} does not name its quantile at the end")
    (en, zh) = (match.groups() for match in parts.values() if match)
    return Text(en[0], zh[0]), Text(en[1], zh[1])
