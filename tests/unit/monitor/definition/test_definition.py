"""The shipped definition: it reads real metrics, says the same in both languages, and its mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from services.monitor.definition.loading import FOLDER, InvalidDefinition, load_definition, shipped
from services.monitor.definition.rules import Severity

DOCUMENT = Path(__file__).parents[4] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| \S+ \| (.*?) \| .* \|$", re.MULTILINE)
TARGET_LABELS = {"job", "instance"}
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")
# What must be the same in every language: names of settings, commands, metrics and reasons, and the numbers.
FIXED = re.compile(r"`[^`]+`|STRONGROOM_[A-Z_]+|[A-Z]+_[A-Z_]+|\b[a-z]+_[a-z_]+\b|\b\d[\d.,]*\b")


def documented() -> dict[str, set[str]]:
    """Every series' name and its labels, as docs/metrics.md lists them; `up` is the scraper's own."""
    series = {"up": set()}
    for name, kind, labels in ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        found = set(re.findall(r"`(\w+)`", labels))
        suffixes = OF_HISTOGRAMS if kind == "histogram" else ("",)
        series |= {name + suffix: found | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    return series


def test_every_quantity_reads_series_and_labels_that_exist():
    series = documented()
    for selection in shipped().selections:
        assert selection.name in series
        assert {label for label, _ in selection.where} <= series[selection.name] | TARGET_LABELS


def test_every_label_that_is_kept_exists():
    series = documented()
    quantities = [(r.id, c.quantity) for r in shipped().rules for c in r.conditions]
    quantities += [(figure.id, figure.quantity) for figure in shipped().figures]
    for id, quantity in quantities:
        for selection in quantity.selections:
            assert set(quantity.by) <= series[selection.name] | TARGET_LABELS, id


@pytest.mark.parametrize("rule", shipped().rules, ids=lambda rule: rule.id)
def test_a_rule_says_the_same_in_both_languages(rule):
    for text in (rule.title, rule.diagnosis, rule.remedy, rule.gated_because):
        if text:
            assert re.search(r"[\u4e00-\u9fff]", text.zh)
            named = [found for found in FIXED.findall(text.en) if not found[0].isdigit()]
            assert [found for found in named if found not in text.zh] == []


def test_a_milder_rule_is_covered_by_a_more_severe_one():
    order = list(Severity)
    for rule in shipped().rules:
        if rule.covers:
            assert order.index(rule.severity) < order.index(shipped().rule(rule.covers).severity)


def test_ratios_and_quantiles_are_gated_by_a_number_of_events():
    """A share of nearly nothing must page nobody."""
    for rule in shipped().rules:
        if re.search(r"histogram_quantile|increase.* / ", rule.condition.promql):
            assert rule.gates, rule.id


GOOD = {
    "id": "x",
    "severity": "warning",
    "value": {"gauge": "up", "by": ["job"]},
    "above": 1,
    "title": {"en": "t", "zh": "题"},
    "diagnosis": {"en": "d", "zh": "断"},
    "remedy": {"en": "r", "zh": "救"},
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"severity": "bad"}, "severity"),
        ({"for": "soon"}, "for"),
        ({"above": "high"}, "above"),
        ({"above": True}, "above"),
        ({"title": {"en": "only"}}, "title"),
        ({"titel": 1}, "titel"),
        ({"value": {"guage": "up"}}, "value"),
        ({"value": {"gauge": "up", "where": {"job": []}}}, "where"),
        ({"value": {"rate": "up"}}, "window"),
        ({"value": {"ratio": ["up"], "window": "1m"}}, "ratio"),
        ({"covers": "nobody"}, "covers"),
        ({"while": [{"value": {"gauge": "up", "by": ["instance"]}, "above": 1}], "gated_because": GOOD["title"]}, "by"),
        ({"while": [{"value": {"gauge": "up"}, "above": 1}]}, "gated_because"),
        ({"below": 2}, "above"),
    ],
)
def test_a_mistake_is_named_by_its_field(tmp_path, change, named):
    write(tmp_path, GOOD)
    assert [rule.id for rule in load_definition(tmp_path).rules] == ["x"]
    write(tmp_path, {**GOOD, **change})
    with pytest.raises(InvalidDefinition, match=named):
        load_definition(tmp_path)


def test_an_id_is_given_once(tmp_path):
    write(tmp_path, GOOD, GOOD)
    with pytest.raises(InvalidDefinition, match="twice"):
        load_definition(tmp_path)


def write(folder: Path, *rules: object) -> None:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "some.yaml").write_text(yaml.safe_dump(list(rules), allow_unicode=True), encoding="utf-8")
    (folder / "figures.yaml").write_text((FOLDER / "figures.yaml").read_text(encoding="utf-8"), encoding="utf-8")
