"""The dashboard: Grafana's own types know every field of it, and its colours are the rules' thresholds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from services.monitor.definition.loading import shipped
from services.monitor.definition.rules import Figure, Severity
from services.monitor.export.dashboard import COLUMNS, dashboard
from services.monitor.export.panels import panels
from services.monitor.export.thresholds import COLOURS, GOOD, colour_steps, watching

# Prometheus' data source reads these of an annotation itself; they stand beside Grafana's schema.
OF_THE_DATA_SOURCE = {"/annotations/list/0/titleFormat", "/annotations/list/0/textFormat"}


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return dashboard(shipped())


def lost(written: Any, understood: Any, path: str = "") -> set[str]:
    """Where something that was written did not come back the same."""
    if isinstance(written, dict) and isinstance(understood, dict):
        parts = [lost(value, understood.get(name), f"{path}/{name}") for name, value in written.items()]
        return set().union(*parts)
    if isinstance(written, list) and isinstance(understood, list) and len(written) == len(understood):
        return set().union(*(lost(a, b, f"{path}/{n}") for n, (a, b) in enumerate(zip(written, understood))))
    return set() if written == understood else {path}


def test_grafanas_types_know_every_field_that_is_written(board):
    """Fails if a field is misspelt: what its types do not know does not come back."""
    plugins.register_default_plugins()
    written = json.loads(json.dumps(board))
    understood = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    assert lost(written, understood) == OF_THE_DATA_SOURCE
    written["panels"][1]["gridPosition"] = written["panels"][1].pop("gridPos")
    understood = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    assert "/panels/1/gridPosition" in lost(written, understood)


def test_every_figure_is_in_a_panel_and_in_one_only(board):
    shown = [figure.id for panel in panels(shipped()) for figure in panel.figures]
    assert sorted(shown) == sorted(figure.id for figure in shipped().figures)
    charts = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    assert sum(len(chart["targets"]) for chart in charts) == len(shown)


def test_titles_are_in_both_languages_and_panels_have_numbers_of_their_own(board):
    for panel in board["panels"]:
        english, _, chinese = panel["title"].partition(" · ")
        assert english.isascii() and any("\u4e00" <= character <= "\u9fff" for character in chinese)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_panel_lies_on_another_and_none_leaves_the_page(board):
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= COLUMNS
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    ("figure", "steps"),
    [
        ("first_text_interactive_p95", [(None, "green"), (0.5, "orange"), (1, "red")]),
        ("useful_token_ratio", [(None, "red"), (0.6, "orange"), (0.8, "green")]),
        ("gpu_utilisation_ratio", [(None, "orange"), (0.5, "green"), (0.95, "orange")]),
        ("queue_oldest_seconds", [(None, "green"), (5, "orange"), (30, "red")]),  # an hour is no better than 30 s
        ("policy_file_refused", [(None, "green"), (1e-9, "orange")]),
        ("first_text_p95", [(None, "green")]),  # all classes together: the bounds are the interactive class's
        ("requests_per_second", [(None, "green")]),
    ],
)
def test_thresholds_are_colours(figure, steps):
    rules = watching(shipped().figure(figure), shipped())
    assert [(step["value"], step["color"]) for step in colour_steps(rules)] == steps


def test_a_colour_says_what_the_rules_say_at_that_number():
    """Fails if a step's colour is that of the milder of two rules."""
    for figure in shipped().figures:
        rules = watching(figure, shipped())
        steps = colour_steps(rules)
        bounds = [rule.condition.threshold for rule in rules]
        for number in (n for bound in bounds for n in (bound * 0.99, bound * 1.01)):
            worst = [rule.severity for rule in rules if _past(rule.condition, number)]
            wanted = COLOURS[min(worst, key=list(Severity).index)] if worst else GOOD
            assert _colour(steps, number) == wanted, (figure.id, number)


def test_a_rule_on_another_number_of_the_same_series_colours_nothing():
    """Requests that expire are no failed requests, and a number of requests turned away is no rate."""
    assert {rule.id for rule in watching(_figure("error_ratio"), shipped())} == {"errors", "many_errors"}
    assert watching(_figure("turned_away_per_second"), shipped()) == []


def _figure(id: str) -> Figure:
    return shipped().figure(id)


def _past(condition: Any, number: float) -> bool:
    return number < condition.threshold if condition.below else number > condition.threshold


def _colour(steps: list[dict[str, Any]], number: float) -> Any:
    return next(step["color"] for step in reversed(steps) if step["value"] is None or step["value"] <= number)
