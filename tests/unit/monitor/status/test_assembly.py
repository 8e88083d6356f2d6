"""A snapshot from figures and samples: what is known, and nothing made up."""

from __future__ import annotations

from dataclasses import fields

import pytest

from services.monitor.definition.loading import shipped
from services.monitor.status import assembly, snapshot
from services.monitor.status.assembly import INFORMATION, Figures
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

GATEWAY, GUARD, AUDIT = (Target(f"strongroom-{name}", f"h:{n}") for n, name in enumerate(("gateway", "guard", "audit")))
WORKER = Target("strongroom-inference", "h:9")
FIGURES = {figure.id for figure in shipped().figures}
# Filled from elsewhere than a figure of the same name.
OTHERWISE = {
    "Guard": {"verdicts", "policy"},
    "Machine": {"cores", "memory_used_bytes", "memory_limit_bytes", "gpus", "gpu_reason"},
}


@pytest.fixture
def windows() -> Windows:
    return Windows(shipped().selections | INFORMATION, WindowBounds(600))


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name, tuple(sorted(labels.items())), value)


def figures(windows: Windows, at: float) -> Figures:
    return Figures.of(shipped(), windows, at)


@pytest.mark.parametrize("kind", ["Traffic", "Latency", "Tokens", "Guard", "AuditHealth", "Machine"])
def test_every_field_of_a_section_has_a_figure(kind):
    """A field that none fills would be unknown for ever."""
    names = {field.name for field in fields(getattr(snapshot, kind))} - OTHERWISE.get(kind, set())
    assert names <= FIGURES


def test_of_nothing_nothing_is_known(windows):
    found = figures(windows, 10)
    assert assembly.traffic(found) == snapshot.Traffic()
    assert assembly.latency(found) == snapshot.Latency()
    assert assembly.audit(found) == snapshot.AuditHealth()
    assert assembly.workers(found, windows) == []
    assert [each.jobs for each in assembly.queue(found)] == [None, None, None]


def test_rates_of_two_scrapes(windows):
    for at, done, failed in ((10, 0, 0), (12, 8, 2), (14, 16, 4)):
        requests = "strongroom_gateway_requests_total"
        ended = [sample(requests, done, end="COMPLETED", priority="batch"), sample(requests, failed, end="FAILED")]
        windows.answered(GATEWAY, at, ended)
    traffic = assembly.traffic(figures(windows, 14))
    assert traffic.error_ratio == pytest.approx(0.2)
    assert traffic.ends_per_second["COMPLETED"] == pytest.approx(4 * traffic.ends_per_second["FAILED"])
    assert traffic.requests_per_second == pytest.approx(sum(traffic.ends_per_second.values()))


def test_the_queue_is_told_by_class_and_once_however_many_gateways_see_it(windows):
    for port in (1, 2):
        target = Target("strongroom-gateway", f"h:{port}")
        windows.answered(target, 10, [sample("strongroom_gateway_queue_waiting_jobs", 7, priority="batch")])
    waiting = {each.priority: each.waiting for each in assembly.queue(figures(windows, 10))}
    assert waiting == {"interactive": None, "standard": None, "batch": 7}


def test_a_worker_is_what_it_says_of_itself_and_how_it_stands(windows):
    model = {"model": "smollm2", "engine": "torch", "dtype": "float32", "device": "cpu", "attention": "sdpa"}
    shown = [
        sample("strongroom_inference_model_info", 1, **model),
        sample("strongroom_inference_ready", 1),
        sample("strongroom_inference_engine_alive", 0),
        sample("strongroom_inference_heartbeat_age_seconds", 12),
        sample("strongroom_inference_slots", 16),
        sample("strongroom_inference_running_requests", 3),
        sample("strongroom_inference_kv_used_tokens", 50),
        sample("strongroom_inference_kv_tokens", 100),
    ]
    windows.answered(WORKER, 10, shown)
    assert assembly.workers(figures(windows, 10), windows) == [
        snapshot.WorkerState(
            instance="h:9",
            ready=True,
            engine_alive=False,
            heartbeat_age_seconds=12,
            slots=16,
            running=3,
            kv_used_ratio=0.5,
            **model,
        )
    ]
    windows.failed(WORKER, 12)
    assert assembly.workers(figures(windows, 12), windows) == []


def test_labels_that_nobody_asked_for_do_no_harm(windows):
    windows.answered(WORKER, 10, [sample("strongroom_inference_model_info", 1, model="m", surprise="x")])
    windows.answered(GUARD, 10, [sample("strongroom_guard_policy_info", 1, version="7", surprise="x")])
    found = figures(windows, 10)
    assert [worker.model for worker in assembly.workers(found, windows)] == ["m"]
    assert assembly.guard(found, windows).policy == {"name": "", "version": "7", "digest": ""}


def test_verdicts_come_the_most_frequent_first(windows):
    for at in (10, 12):
        counted = [
            sample("strongroom_gateway_verdicts_total", at * weight, verdict="REFUSE", rule=rule)
            for rule, weight in (("a", 1), ("b", 5), ("c", 3))
        ]
        windows.answered(GATEWAY, at, counted)
    assert [rate.rule for rate in assembly.guard(figures(windows, 12), windows).verdicts] == ["b", "c", "a"]


def test_beyond_all_numbers_is_not_known(windows):
    """A ratio to nothing must not reach a page as infinity."""
    shown = [sample("strongroom_inference_kv_used_tokens", 5), sample("strongroom_inference_kv_tokens", 0)]
    windows.answered(WORKER, 10, shown)
    assert figures(windows, 10).by("kv_used_ratio") == {}


def test_audit_health(windows):
    shown = [
        sample("strongroom_audit_tree_entries", 500),
        sample("strongroom_audit_checkpoint_timestamp_seconds", 6),
        sample("strongroom_audit_disk_free_bytes", 1e9),
    ]
    windows.answered(AUDIT, 10, shown)
    health = assembly.audit(figures(windows, 10))
    assert (health.tree_entries, health.checkpoint_age_seconds, health.disk_free_bytes) == (500, 4, 1e9)
    assert health.commit_p50 is None
