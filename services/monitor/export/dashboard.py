"""The dashboard: an overview in numbers, then a row of charts for each group of figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from services.monitor.definition.rules import Definition, Text
from services.monitor.export.panels import DATASOURCE, Panel, both, chart, number, panels, stat_options, target

# The classic model, which Grafana 11 writes and newer ones import.
SCHEMA_VERSION = 41
COLUMNS = 24
STAT_WIDTH, STAT_HEIGHT = 6, 4
CHART_WIDTH, CHART_HEIGHT = 8, 8
ROWS = {
    "traffic": Text("Traffic", "流量"),
    "latency": Text("Latency", "延迟"),
    "tokens": Text("Tokens and batch efficiency", "Token 与批处理效率"),
    "queue": Text("Queue", "队列"),
    "verdicts": Text("Verdicts and personal data", "判定与个人信息"),
    "audit": Text("Audit", "审计"),
    "workers": Text("Workers and models", "工作进程与模型"),
    "machine": Text("Machine", "机器"),
}
OVERVIEW = Text("Overview", "概览")
IN_THE_OVERVIEW = (
    "requests_per_second",
    "in_flight_requests",
    "error_ratio",
    "first_text_interactive_p95",
    "useful_token_ratio",
    "disk_free_bytes",
)
FIRING = 'ALERTS{alertname=~"Strongroom.+", alertstate="firing"}'
# Of Prometheus' own series; where there are none nothing is wrong, which a 0 says better than a gap.
OWN_NUMBERS = (
    (Text("Alerts that fire", "触发中的告警"), f"count({FIRING}) or vector(0)"),
    (Text("Targets that do not answer", "无响应的抓取目标"), 'count(up{job=~"strongroom-.+"} == 0) or vector(0)'),
)
Document = dict[str, Any]


def dashboard(definition: Definition) -> Document:
    """Importable as it is: the data source is a variable of the dashboard."""
    return {
        "uid": "strongroom",
        "title": "Strongroom",
        "description": both(Text("Generated from the monitor's definition", "由监控定义生成")),
        "tags": ["strongroom"],
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_datasource_variable()]},
        "annotations": {"list": [_firing_marks()]},
        "links": [],
        "panels": [{"id": number, **panel} for number, panel in enumerate(_all(definition), 1)],
    }


@dataclass(frozen=True)
class _Row:
    """A heading and its members, left to right, line by line."""

    title: Text
    members: Sequence[Document]
    width: int = CHART_WIDTH  # of a member
    member_height: int = CHART_HEIGHT

    @property
    def a_line(self) -> int:
        return COLUMNS // self.width

    @property
    def height(self) -> int:
        return 1 + math.ceil(len(self.members) / self.a_line) * self.member_height

    def placed(self, top: int) -> Iterator[Document]:
        heading = {"type": "row", "title": both(self.title), "collapsed": False, "panels": []}
        yield {**heading, "gridPos": _place(0, top, COLUMNS, 1)}
        for place, member in enumerate(self.members):
            line, column = divmod(place, self.a_line)
            at = _place(column * self.width, top + 1 + line * self.member_height, self.width, self.member_height)
            yield {**member, "gridPos": at}


def _all(definition: Definition) -> Iterator[Document]:
    """Rows open, one under the other."""
    top = 0
    for row in _rows(definition):
        yield from row.placed(top)
        top += row.height


def _rows(definition: Definition) -> Iterator[_Row]:
    numbers = [_own_number(title, expression) for title, expression in OWN_NUMBERS]
    numbers += [number(Panel((definition.figure(id),)), definition) for id in IN_THE_OVERVIEW]
    yield _Row(OVERVIEW, numbers, STAT_WIDTH, STAT_HEIGHT)
    for group, members in groupby(panels(definition), lambda panel: panel.group):
        yield _Row(ROWS[group], [chart(panel, definition) for panel in members])


def _place(x: int, y: int, width: int, height: int) -> Document:
    return {"x": x, "y": y, "w": width, "h": height}


def _own_number(title: Text, expression: str) -> Document:
    steps = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
    defaults = {"unit": "short", "color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "type": "stat",
        "title": both(title),
        "datasource": DATASOURCE,
        "targets": [target("A", expression, both(title))],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": stat_options(),
    }


def _datasource_variable() -> Document:
    return {"name": "datasource", "type": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}


def _firing_marks() -> Document:
    """A mark on every chart where an alert fired."""
    return {
        "name": both(Text("Alerts", "告警")),
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": FIRING,
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}}",
    }
