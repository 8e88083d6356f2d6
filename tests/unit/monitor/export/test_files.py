"""The generated files: they are what is committed, and they read what the services show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.monitor.definition.loading import shipped
from services.monitor.export.files import Stack, files
from services.monitor.export.rule_file import alert_name, recorded_name, rule_file

ROOT = Path(__file__).parents[4]
DOCUMENT = ROOT / "docs" / "metrics.md"
LOCAL = Stack("127.0.0.1", 7400, 1)
PROMETHEUS_OWN = {"up", "ALERTS"}
NOT_NAMES = {"by", "on", "and", "or", "sum", "max", "min", "count", "without"}


def metrics_of(expression: str) -> set[str]:
    """Names of series: words that are neither labels, strings, times, functions nor PromQL's own."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|(by|on) \([^)]*\)", " ", expression)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?! *\()\b(?! *\()", bare)
    return set(words) - NOT_NAMES


def documented() -> set[str]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in rows for suffix in suffixes.get(kind, ("",))}


def generated_rules() -> list[dict[str, Any]]:
    return [rule for group in rule_file(shipped())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("name", files(shipped(), LOCAL))
def test_what_is_committed_is_what_the_definition_gives(name):
    committed = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    assert committed == files(shipped(), LOCAL)[name], "run `make monitoring`"


def test_nothing_else_lies_beside_the_generated_files():
    kept = {str(path.relative_to(ROOT / "deploy")) for folder in ("prometheus", "grafana")
            for path in (ROOT / "deploy" / folder).iterdir()}  # fmt: skip
    assert kept == set(files(shipped(), LOCAL))


def test_names_are_found_in_expressions():
    """Or the next test would prove nothing."""
    expression = 'sum by (le, a) (rate(x_bucket{job="j", end=~"y|z"}[1m])) / max(a:b:1m) > 0.5 and on () (absent(w))'
    assert metrics_of(expression) == {"x_bucket", "a:b:1m", "w"}


def test_rules_read_documented_metrics_only():
    assert set().union(*(metrics_of(rule["expr"]) for rule in generated_rules())) <= documented() | {"up"}


def test_panels_read_documented_metrics_recorded_series_and_what_prometheus_adds():
    recorded = {rule["record"] for rule in generated_rules() if "record" in rule}
    board = json.loads(files(shipped(), LOCAL)["grafana/strongroom.json"])
    read = {name for panel in board["panels"] for line in panel.get("targets", []) for name in metrics_of(line["expr"])}
    assert read <= documented() | recorded | PROMETHEUS_OWN
    assert recorded <= read, "recorded for nobody"


def test_every_rule_is_an_alert_with_its_times_and_texts():
    alerts = {rule["labels"]["rule"]: rule for rule in rule_file(shipped())["groups"][0]["rules"]}
    assert alerts.keys() == {rule.id for rule in shipped().rules}
    for rule in shipped().rules:
        alert = alerts[rule.id]
        assert alert["expr"] == rule.promql
        assert alert["labels"]["severity"] == rule.severity
        assert ("for" in alert, "keep_firing_for" in alert) == (rule.for_seconds > 0, rule.keep_seconds > 0)
        said = alert["annotations"]
        assert rule.remedy.en in said["description"] and rule.remedy.zh in said["description_zh"]
        assert all(f"{{{{ $labels.{label} }}}}" in said["summary"] for label in rule.by)


def test_alerts_are_named_after_their_rules():
    assert alert_name(shipped().rule("guard_down")) == "StrongroomGuardDown"
    assert recorded_name(shipped().figure("request_p95")) == "strongroom:request_p95:1m"


def test_no_text_is_taken_for_a_template():
    """Braces in the definition's texts would be Prometheus' own language."""
    for rule in shipped().rules:
        for text in (rule.title, rule.diagnosis, rule.remedy):
            assert "{{" not in text.en + text.zh


def test_another_stack_has_its_own_targets():
    text = files(shipped(), Stack("127.0.0.1", 9000, 3))["prometheus/prometheus.yml"]
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in yaml.safe_load(text)["scrape_configs"]}
    assert jobs == {
        "strongroom-gateway": ["127.0.0.1:9010"],
        "strongroom-guard": ["127.0.0.1:9011"],
        "strongroom-inference": ["127.0.0.1:9012", "127.0.0.1:9023", "127.0.0.1:9025"],
        "strongroom-audit": ["127.0.0.1:9013"],
        "strongroom-monitor": ["127.0.0.1:9014"],
    }


def test_an_address_of_ip_6_is_bracketed():
    text = files(shipped(), Stack("::1", 7400, 1))["prometheus/prometheus.yml"]
    assert text.count("[::1]:74") == 5


def export(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.monitor.export", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_the_command_writes_all_files_where_it_is_told(tmp_path):
    written = export("--to", tmp_path / "new", "--port-base", "9000")
    assert written.returncode == 0, written.stderr
    found = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert found == set(files(shipped(), LOCAL))
    assert "127.0.0.1:9010" in (tmp_path / "new" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "wrong", "bounds"), [("--port-base", "70000", "1024 to 65000"), ("--workers", "many", "0 to 64")]
)
def test_a_wrong_option_is_named_with_its_bounds(tmp_path, option, wrong, bounds):
    refused = export("--to", tmp_path, option, wrong)
    assert refused.returncode == 2
    assert option in refused.stderr and wrong in refused.stderr and bounds in refused.stderr


def test_a_milder_alert_is_inhibited_where_the_graver_one_fires():
    rules = yaml.safe_load(files(shipped(), LOCAL)["prometheus/alertmanager.yml"])["inhibit_rules"]
    covering = [rule for rule in shipped().rules if rule.covers]
    assert len(rules) == len(covering)
    disk = next(rule for rule in rules if rule["source_matchers"] == ['rule="disk_nearly_full"'])
    assert disk == {
        "source_matchers": ['rule="disk_nearly_full"'], "target_matchers": ['rule="disk_low"'], "equal": ["instance"],
    }  # fmt: skip
    queue = next(rule for rule in rules if rule["source_matchers"] == ['rule="queue_stuck"'])
    assert "equal" not in queue, "one tells classes apart and the other does not"
