"""The scenarios that promtool runs, on the monitor's own windows and board: the same alerts at the same times.

Two engines and one expectation that was written down before either ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.monitor.alerts.alert import State
from services.monitor.alerts.board import AlertBoard
from services.monitor.definition.loading import shipped
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.yml"))
METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"
LABEL = re.compile(r'(\w+)="([^"]*)"')
# Of promtool's notation, what the scenarios use: 3, 3x5 (six times 3), 3+2x5 and 3-2x5.
STRETCH = re.compile(r"([\d.e]+)(?:([+-][\d.e]+)?x(\d+))?")
SECONDS = {"s": 1, "h": 3600}
Place = tuple[str, tuple[tuple[str, str], ...], str]  # a rule, the labels of its alert, and its state
# What is asked of ALERTS: what stands there now, what fires now, and what was ever there.
NOW, FIRING, EVER = "sum without (alertname) (ALERTS)", 'ALERTS{alertstate="firing"}', "max_over_time(ALERTS[1h])"


@dataclass(frozen=True)
class Scenario:
    """One test of a promtool file."""

    name: str
    interval: float
    series: Mapping[Target, Mapping[tuple[str, tuple[tuple[str, str], ...]], Sequence[float]]]
    expected: Sequence[tuple[float, str, frozenset[Place]]]  # when, what is asked, the answer


@dataclass
class Run:
    """What the board said at each asked time."""

    answers: list[frozenset[Place]]
    held_back: set[str]  # rules whose condition held at such a time while a gate was closed
    fired: set[str]
    read: set[str]  # names of all series


def read(path: Path) -> Iterator[Scenario]:
    for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
        series: dict[Target, dict[Any, Sequence[float]]] = {}
        for given in test["input_series"]:
            name, _, rest = given["series"].partition("{")
            labels = dict(LABEL.findall(rest))
            target = Target(labels.pop("job"), labels.pop("instance"))
            series.setdefault(target, {})[name, tuple(sorted(labels.items()))] = values(given["values"])
        asked = [(seconds(e["eval_time"]), e["expr"], _places(e["exp_samples"])) for e in test["promql_expr_test"]]
        yield Scenario(f"{path.stem}: {test['name']}", seconds(test["interval"]), series, asked)


def values(text: str) -> list[float]:
    found: list[float] = []
    for stretch in text.split():
        start, step, times = STRETCH.fullmatch(stretch).groups()  # type: ignore[union-attr]
        found += [float(start) + n * float(step or 0) for n in range(int(times or 0) + 1)]
    return found


def seconds(text: str) -> float:
    return float(text[:-1]) * SECONDS[text[-1]]


def _places(samples: Iterable[Mapping[str, Any]]) -> frozenset[Place]:
    labels = [dict(LABEL.findall(sample["labels"])) for sample in samples]
    shown = {"rule", "alertstate", "severity", "alertname"}
    return frozenset(
        (each["rule"], tuple(sorted((k, v) for k, v in each.items() if k not in shown)), each["alertstate"])
        for each in labels
    )


def run(scenario: Scenario) -> Run:
    definition = shipped()
    windows = Windows(definition.selections, WindowBounds(definition.window_seconds + 60))
    board = AlertBoard(definition.rules)
    seen = Run([], set(), set(), {name for target in scenario.series.values() for name, _ in target})
    ever: set[Place] = set()
    asked = list(scenario.expected)
    now = 0.0
    while asked:
        _scrape(windows, scenario, now)
        board.evaluate(windows, now)
        standing = {(a.rule.id, tuple(sorted(a.labels.items())), a.state.value): a for a in board.active}
        ever |= standing.keys()
        seen.fired |= {alert.rule.id for alert in standing.values() if alert.state is State.FIRING}
        while asked and asked[0][0] <= now:
            _, question, _ = asked.pop(0)
            firing = frozenset(place for place in standing if place[2] == State.FIRING)
            seen.answers.append({NOW: frozenset(standing), FIRING: firing, EVER: frozenset(ever)}[question])
            holding = {rule.id for rule in definition.rules if rule.condition.holding(windows, now)}
            seen.held_back |= holding - {rule for rule, _, _ in standing}
        now += scenario.interval
    return seen


def _scrape(windows: Windows, scenario: Scenario, now: float) -> None:
    place = int(now / scenario.interval)
    for target, series in scenario.series.items():
        samples = [
            Sample(name, labels, values[place]) for (name, labels), values in series.items() if place < len(values)
        ]
        if any(sample.name == "up" and sample.value == 0 for sample in samples):
            windows.failed(target, now)
        elif samples:
            assert windows.answered(target, now, [sample for sample in samples if sample.name != "up"])


SCENARIOS = [scenario for path in FILES for scenario in read(path)]


@pytest.fixture(scope="module")
def runs() -> Mapping[str, Run]:
    return {scenario.name: run(scenario) for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_monitors_own_board_says_what_prometheus_says(scenario, runs):
    """Fails if `Rule.holding` does not look at its gates."""
    assert runs[scenario.name].answers == [answer for _, _, answer in scenario.expected]


@pytest.mark.parametrize("rule", shipped().rules, ids=lambda rule: rule.id)
def test_every_rule_is_seen_firing(rule, runs):
    assert any(rule.id in places_of(scenario, State.FIRING) for scenario in SCENARIOS)


@pytest.mark.parametrize("rule", [rule for rule in shipped().rules if rule.gates], ids=lambda rule: rule.id)
def test_every_gate_is_seen_holding_its_rule_back(rule, runs):
    assert any(rule.id in found.held_back for found in runs.values())


@pytest.mark.parametrize("rule", [rule for rule in shipped().rules if not rule.gates], ids=lambda rule: rule.id)
def test_every_rule_without_a_gate_is_seen_silent_beside_its_series(rule, runs):
    names = {selection.name for selection in rule.condition.quantity.selections}
    assert any(names <= found.read and rule.id not in found.fired for found in runs.values())


def test_idle_and_busy_hour_have_every_series_that_a_rule_reads(runs):
    wanted = {selection for rule in shipped().rules for c in rule.conditions for selection in c.quantity.selections}
    hours = [scenario for scenario in SCENARIOS if scenario.name.startswith("hours: ")]
    assert len(hours) == 2
    for hour in hours:
        shown = [
            (name, {**dict(labels), "job": target.job, "instance": target.instance})
            for target, series in hour.series.items()
            for name, labels in series
        ]
        missing = [s for s in wanted if not any(s.name == name and s.matches(labels) for name, labels in shown)]
        assert missing == []


def test_scenarios_use_series_that_exist():
    text = METRICS.read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) | {"up"}
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for s in SCENARIOS for t in s.series.values() for name, _ in t}
    assert used - documented == set()


def places_of(scenario: Scenario, state: State) -> set[str]:
    return {rule for _, _, answer in scenario.expected for rule, _, at in answer if at == state.value}
