"""What Prometheus' and Alertmanager's own tools say of the generated files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yml"))


def test_the_rule_file_is_valid(promtool):
    checked = promtool("check", "rules", DEPLOY / "strongroom.rules.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"SUCCESS: \d+ rules found", checked.stdout)


@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
def test_the_scrape_configuration_is_valid(name, promtool):
    checked = promtool("check", "config", DEPLOY / name)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_brings_the_alerts_that_it_names_and_no_others(promtool, path):
    """Fails if `Rule.promql` leaves the gates out, or the rule file `for`."""
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_scenario_that_is_wrong_is_told(promtool, tmp_path):
    """promtool does read ALERTS: an expectation that nobody fulfils fails."""
    text = (SCENARIOS[0].parent / "guard.yml").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.yml"
    rules = str(DEPLOY / "strongroom.rules.yml")
    text = text.replace("../../../deploy/prometheus/strongroom.rules.yml", rules)
    wrong.write_text(text.replace('rule="guard_fails"', 'rule="guard_is_well"'), encoding="utf-8")
    tested = promtool("test", "rules", wrong)
    assert tested.returncode != 0
    assert 'rule="guard_fails"' in tested.stdout + tested.stderr


def test_the_example_of_routes_is_valid_and_sends_each_severity_its_way(amtool):
    path = DEPLOY / "alertmanager.yml"
    checked = amtool("check-config", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for severity, receiver in (("critical", "pager"), ("warning", "chat"), ("notice", "nobody")):
        routed = amtool("config", "routes", "test", f"--config.file={path}", f"severity={severity}", "rule=x")
        assert routed.stdout.strip() == receiver, routed.stderr
