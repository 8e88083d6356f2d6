"""Alerts from pending over firing to resolved, on a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.alerts.alert import State
from services.monitor.alerts.board import AlertBoard, BoardBounds
from services.monitor.definition.quantities import Gauge
from services.monitor.definition.rules import Condition, Rule, Severity, Text
from services.monitor.definition.selection import Selection
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

DEPTH = Selection("depth")
TARGET = Target("strongroom-gateway", "gateway:1")
TEXT = Text("text", "文")


def rule(id="deep", for_seconds=10.0, keep_seconds=0.0, threshold=5.0, gates=(), **more) -> Rule:
    return Rule(
        id=id,
        severity=more.pop("severity", Severity.WARNING),
        condition=Condition(Gauge(of=DEPTH, by=("priority",)), threshold),
        gates=gates,
        for_seconds=for_seconds,
        keep_seconds=keep_seconds,
        unit="",
        title=TEXT,
        diagnosis=TEXT,
        remedy=TEXT,
        **more,
    )


class Bench:
    """A board over real windows; `at` gives depths by class at a time and returns what changed."""

    def __init__(self, *rules: Rule, bounds: BoardBounds | None = None) -> None:
        self.windows = Windows([DEPTH, Selection("work")], WindowBounds(seconds=600, series_per_target=1000))
        self.board = AlertBoard(rules, bounds)

    def at(self, now: float, work: float = 1.0, **depths: float) -> list[tuple[str, str]]:
        samples = [Sample("depth", (("priority", name),), value) for name, value in depths.items()]
        self.windows.answered(TARGET, now, [*samples, Sample("work", (), work)])
        return [(alert.id, alert.state.value) for alert in self.board.evaluate(self.windows, now)]

    def stands(self) -> dict[str, str]:
        return {alert.id: alert.state.value for alert in self.board.active}


def test_it_fires_only_after_it_has_held_as_long_as_the_rule_asks():
    bench = Bench(rule())
    assert bench.at(0, batch=9) == []
    assert bench.stands() == {"deep/batch": "pending"}
    assert bench.at(9, batch=9) == []
    assert bench.at(10, batch=9) == [("deep/batch", "firing")]
    assert bench.at(12, batch=9) == []
    [alert] = bench.board.firing
    assert (alert.since, alert.fired, alert.labels) == (0, 10, {"priority": "batch"})


def test_one_good_look_starts_the_wait_again():
    bench = Bench(rule())
    bench.at(0, batch=9)
    bench.at(8, batch=1)
    assert bench.stands() == {}
    bench.at(10, batch=9)
    assert bench.at(18, batch=9) == []
    assert bench.at(20, batch=9) == [("deep/batch", "firing")]


def test_without_a_wait_it_fires_at_once():
    assert Bench(rule(for_seconds=0)).at(0, batch=9) == [("deep/batch", "firing")]


def test_it_resolves_when_it_holds_no_more_and_is_remembered():
    bench = Bench(rule(for_seconds=0))
    bench.at(0, batch=9)
    assert bench.at(2, batch=1) == [("deep/batch", "resolved")]
    assert bench.stands() == {}
    [alert] = bench.board.recent
    assert (alert.state, alert.fired, alert.resolved, alert.value) == (State.RESOLVED, 0, 2, 9)


def test_it_goes_on_firing_over_a_short_gap():
    bench = Bench(rule(for_seconds=0, keep_seconds=10))
    bench.at(0, batch=9)
    assert bench.at(8, batch=1) == []
    assert bench.at(9, batch=9) == []
    assert bench.at(18, batch=1) == []
    assert bench.at(19, batch=1) == [("deep/batch", "resolved")]


def test_each_place_has_an_alert_of_its_own():
    bench = Bench(rule(for_seconds=0))
    assert bench.at(0, batch=9, standard=9, interactive=1) == [("deep/batch", "firing"), ("deep/standard", "firing")]
    assert bench.at(2, batch=1, standard=9) == [("deep/batch", "resolved")]


def test_a_gate_that_is_shut_keeps_it_quiet():
    gate = Condition(Gauge(of=Selection("work")), 0)
    bench = Bench(rule(for_seconds=0, gates=(gate,), gated_because=TEXT))
    assert bench.at(0, work=0, batch=9) == []
    assert bench.at(2, work=1, batch=9) == [("deep/batch", "firing")]


def test_a_value_that_is_not_there_is_no_alert():
    bench = Bench(rule(for_seconds=0))
    bench.at(0, batch=9)
    assert bench.at(2) == [("deep/batch", "resolved")]


def test_a_target_that_is_down_resolves_what_it_showed():
    bench = Bench(rule(for_seconds=0))
    bench.at(0, batch=9)
    bench.windows.failed(TARGET, 2)
    assert [alert.state for alert in bench.board.evaluate(bench.windows, 2)] == [State.RESOLVED]


def test_the_more_severe_covers_the_milder_in_the_same_place_only():
    mild = rule("mild", for_seconds=0)
    severe = rule("severe", for_seconds=0, threshold=50, severity=Severity.CRITICAL, covers="mild")
    bench = Bench(mild, severe)
    bench.at(0, batch=90, standard=9)
    covered = {alert.id: alert.covered for alert in bench.board.active}
    assert covered == {"severe/batch": False, "mild/batch": True, "mild/standard": False}
    bench.at(2, batch=20, standard=9)
    assert not any(alert.covered for alert in bench.board.active)


def test_the_most_severe_comes_first_then_the_oldest_then_what_is_pending():
    mild, severe = rule("mild", for_seconds=0), rule("severe", for_seconds=0, severity=Severity.CRITICAL, threshold=50)
    slow = rule("slow", for_seconds=99, severity=Severity.CRITICAL)
    bench = Bench(slow, mild, severe)
    bench.at(0, a=9)
    bench.at(2, a=9, b=60)
    ids = [alert.id for alert in bench.board.active]
    assert ids == ["severe/b", "mild/a", "mild/b", "slow/a", "slow/b"]


@pytest.mark.parametrize("later", [200, -500])
def test_who_did_not_look_cannot_say_that_it_held(later):
    """A laptop that slept, or a clock that was set: the wait begins again."""
    bench = Bench(rule(for_seconds=60))
    bench.at(1000, batch=9)
    assert bench.at(1000 + later, batch=9) == []
    assert bench.at(1010 + later, batch=9) == []
    [alert] = bench.board.active
    assert alert.since == 1000 + later


def test_invariant_6_labels_that_never_end_are_bounded_and_counted():
    """Fails if `_holds` makes room without looking at the bound."""
    bench = Bench(rule(for_seconds=0), bounds=BoardBounds(alerts=20, remembered=5))
    bench.at(0, **{f"p{n}": 9 for n in range(100)})
    assert (len(bench.board.active), bench.board.overflow) == (20, 80)
    bench.at(2)
    assert (len(bench.board.active), len(bench.board.recent)) == (0, 5)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 6), st.integers(0, 6))
def test_changes_alternate_and_waits_are_kept(held, for_rounds, keep_rounds):
    """Whatever comes: firing and resolved alternate, and it never fires before the rule's time."""
    bench = Bench(rule(for_seconds=2.0 * for_rounds, keep_seconds=2.0 * keep_rounds))
    changes = []
    for n, holds in enumerate(held):
        for _, state in bench.at(2.0 * n, batch=9.0 if holds else 1.0):
            changes.append(state)
            if state == "firing":
                assert all(held[max(0, n - for_rounds) : n + 1])
    assert changes == (["firing", "resolved"] * len(changes))[: len(changes)]
