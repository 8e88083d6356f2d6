"""What the guard counts: verdicts by rule, findings by class, never what was found."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from strongroom.guard.v1 import guard_pb2 as pb

from chassis.server import Health
from services.guard.metrics import GuardMetrics
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.open_filters import OpenFilters
from services.guard.policy.shelf import PolicyShelf
from services.guard.reloading import PolicyFile
from services.guard.settings import SHIPPED_POLICY


@pytest.fixture
def file(bundle: PolicyBundle, tmp_path: Path) -> PolicyFile:
    path = tmp_path / "policy.yaml"
    path.write_bytes(SHIPPED_POLICY.read_bytes())
    return PolicyFile(path, PolicyShelf(bundle, tmp_path / "kept", time.time), Health())


@pytest.fixture
def metrics(file: PolicyFile) -> GuardMetrics:
    made = GuardMetrics()
    made.watch(file._shelf, OpenFilters(file._shelf, 10, 60, time.monotonic), file)
    return made


def test_every_metric_is_documented_and_every_documented_one_is_there(metrics, as_documented) -> None:
    as_documented("guard", metrics)


def test_verdicts_and_findings_are_counted_by_rule_and_class(metrics, value_of) -> None:
    item = pb.Item(screen=pb.Screen(request_id="r-canary", messages=[pb.Message(role="user", content="canary")]))
    findings = [pb.Finding(type="mobile", rule="mobile/cn"), pb.Finding(type="mobile", rule="mobile/cn")]
    screened = pb.Screened(verdict=pb.VERDICT_REFUSE, rule="violence/weapons", findings=findings, refusal_text="canary")
    metrics.replied(item, pb.ItemReply(screened=screened), 0.002)
    withheld = pb.Filtered(text="canary", withheld=True, rule="violence/weapons")
    metrics.replied(pb.Item(filter=pb.Filter(text="canary")), pb.ItemReply(filtered=withheld), 0.001)
    metrics.replied(pb.Item(), pb.ItemReply(status=pb.ItemStatus(reason="INVALID_ITEM", message="canary")), 0)
    name = "strongroom_guard_verdicts_total"
    assert value_of(metrics, name, kind="screen", verdict="REFUSE", rule="violence/weapons") == 1
    assert value_of(metrics, name, kind="filter", verdict="REFUSE", rule="violence/weapons") == 1
    assert value_of(metrics, "strongroom_guard_findings_total", side="prompt", type="mobile") == 2
    assert value_of(metrics, "strongroom_guard_item_failures_total", kind="nothing", reason="INVALID_ITEM") == 1
    assert value_of(metrics, "strongroom_guard_item_seconds_count", kind="screen") == 1
    assert b"canary" not in generate_latest(metrics.registry)


async def test_a_reload_counts_and_a_refused_file_shows(metrics, file, value_of) -> None:
    await file.reload()
    assert value_of(metrics, "strongroom_guard_policy_reloads_total", outcome="taken") == 1
    assert value_of(metrics, "strongroom_guard_policy_file_refused") == 0
    file._path.write_text("not: a policy")
    await file.reload()
    assert value_of(metrics, "strongroom_guard_policy_reloads_total", outcome="refused") == 1
    assert value_of(metrics, "strongroom_guard_policy_file_refused") == 1
