"""A real Alertmanager on the example of routes: what it holds back."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.monitor.definition.loading import shipped

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "prometheus" / "alertmanager.yml"
PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def alertmanager(
    debian_program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Alone, without a cluster; its placeholders of receivers are reached by nobody."""
    program, folder = (
        debian_program("prometheus-alertmanager", "prometheus-alertmanager"),
        tmp_path_factory.mktemp("am"),
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = [f"--config.file={CONFIGURATION}", f"--storage.path={folder}", "--cluster.listen-address="]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *options, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            until = time.monotonic() + PATIENCE
            while not _ready(client):
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def held_back(client: httpx.Client, *alerts: dict[str, str]) -> list[dict[str, str]]:
    """Of these alerts, all firing, those that a graver one inhibits."""
    sent = client.post("/api/v2/alerts", json=[{"labels": labels} for labels in alerts])
    assert sent.status_code == 200, sent.text
    until = time.monotonic() + PATIENCE
    while True:
        found = [alert for alert in client.get("/api/v2/alerts").json() if alert["labels"] in alerts]
        # An alert is "unprocessed" until its group has been looked at, which is when inhibition is decided.
        if len(found) == len(alerts) and all(alert["status"]["state"] != "unprocessed" for alert in found):
            return [alert["labels"] for alert in found if alert["status"]["inhibitedBy"]]
        assert time.monotonic() < until, found
        time.sleep(0.2)


def alert(rule: str, **labels: str) -> dict[str, Any]:
    return {"alertname": rule, "rule": rule, "severity": shipped().rule(rule).severity.value, **labels}


def test_a_graver_alert_holds_back_the_milder_one_in_the_same_place_only(alertmanager):
    low = [alert("disk_low", instance=place) for place in ("one", "two")]
    assert held_back(alertmanager, alert("disk_nearly_full", instance="one"), *low) == [low[0]]


def test_a_graver_alert_that_tells_classes_apart_holds_back_the_one_that_does_not(alertmanager):
    waits = alert("queue_waits")
    assert held_back(alertmanager, alert("queue_stuck", priority="standard"), waits) == [waits]


def test_alerts_of_different_kinds_are_all_told(alertmanager):
    alerts = [alert("guard_down", instance="guard"), alert("errors"), alert("commits_slow")]
    assert held_back(alertmanager, *alerts) == []
