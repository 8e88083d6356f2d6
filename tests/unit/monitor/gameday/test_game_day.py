"""A game day on a clock of its own: what breaks, which alert comes after how many seconds, with which remedy.

An hour of nothing and a busy, healthy hour bring none.
"""

from __future__ import annotations

import pytest

from services.monitor.alerts.alert import State

GIB = 1024.0**3


def remedies(stack, *ids: str) -> dict[str, str]:
    return {id: stack.definition.rule(id).remedy.en for id in ids}


def test_an_idle_hour_pages_nobody(stack):
    assert stack.pass_time(3600) == []
    assert stack.board.active == []


def test_a_busy_and_healthy_hour_pages_nobody(stack):
    """Thirty requests a second, slots and GPU full, CPU under pressure, a queue that is always a moment old."""
    stack.gauge("strongroom_monitor_gpu_utilisation_ratio", 0.99, gpu="0")
    stack.gauge("strongroom_gateway_queue_oldest_seconds", 0.6, priority="interactive")
    stack.gauge("strongroom_gateway_queue_waiting_jobs", 12, priority="interactive")
    stack.gauge("strongroom_inference_running_requests", 16)
    stack.gauge("strongroom_inference_heartbeat_age_seconds", 0.12)
    stack.gauge("strongroom_inference_kv_used_tokens", 32_000)
    stack.gauge("strongroom_audit_tree_entries", 105)

    def busy() -> None:
        stack.answer(59)
        stack.answer(1, end="FAILED")
        stack.demand(fill=0.97)
        stack.count("strongroom_monitor_cpu_stalled_seconds_total", 1.95)

    assert stack.pass_time(3600, busy) == []


def test_the_guard_is_stopped(stack):
    stack.down.add("guard")
    stack.gauge("strongroom_gateway_neighbour_available", 0, neighbour="guard")
    fired = stack.fired_after(60)
    assert fired == {"neighbour_unavailable": 8, "guard_down": 12}
    assert "policy file" in remedies(stack, "guard_down")["guard_down"]
    stack.down.clear()
    stack.gauge("strongroom_gateway_neighbour_available", 1, neighbour="guard")
    resolved = [alert.rule.id for alert in stack.pass_time(60) if alert.state is State.RESOLVED]
    assert sorted(resolved) == ["guard_down", "neighbour_unavailable"]
    assert stack.board.active == []


def test_the_queue_fills(stack):
    began = stack.now
    stack.gauge("strongroom_gateway_queue_oldest_seconds", lambda: stack.now - began, priority="interactive")
    stack.gauge("strongroom_gateway_queue_waiting_jobs", lambda: 10 * (stack.now - began), priority="interactive")
    stack.gauge("strongroom_inference_running_requests", 16)
    fired = stack.fired_after(120, stack.demand)
    assert fired == {"queue_waits": 22, "queue_stuck": 48, "queue_deep": 56}
    assert "add workers" in remedies(stack, "queue_stuck")["queue_stuck"]
    refusal = "gen_ai_client_operation_duration_seconds_count"
    fired = stack.fired_after(10, lambda: stack.count(refusal, 5, error_type="QUEUE_FULL"))
    assert fired == {"queue_full": 2}


def test_the_engine_freezes(stack):
    began = stack.now
    stack.gauge("strongroom_inference_heartbeat_age_seconds", lambda: stack.now - began)
    stack.gauge("strongroom_inference_running_requests", 4)
    fired = stack.fired_after(40)
    assert fired == {"engine_frozen": 18}
    assert "restart it now" in remedies(stack, "engine_frozen")["engine_frozen"]


def test_a_frozen_worker_process_is_seen_though_it_says_nothing(stack):
    stack.down.add("inference")
    stack.pass_time(6)
    stack.gauge("strongroom_gateway_workers", 0, model="smollm2")
    assert stack.fired_after(60) == {"worker_down": 6, "no_worker": 12}


def test_the_disk_fills(stack):
    full = {"at": 3 * GIB}
    stack.gauge("strongroom_audit_disk_free_bytes", lambda: full["at"])

    def write() -> None:
        full["at"] -= GIB / 8

    fired = stack.fired_after(60, write)
    assert fired == {"disk_low": 28, "disk_nearly_full": 42}
    assert "Free space now" in remedies(stack, "disk_nearly_full")["disk_nearly_full"]


def test_audit_takes_no_new_requests_because_its_disk_is_full(stack):
    stack.gauge("strongroom_audit_journal_full", 1)
    assert stack.fired_after(30) == {"journal_full": 2}
    assert "Free space" in remedies(stack, "journal_full")["journal_full"]
    stack.gauge("strongroom_audit_journal_full", 0)
    resolved = [alert.rule.id for alert in stack.pass_time(30) if alert.state is State.RESOLVED]
    assert resolved == ["journal_full"]


def test_audit_that_cannot_write_ends_itself_again_and_again(stack):
    def restart() -> None:
        if int(stack.now) % 20 == 0:
            stack.started = stack.now
        stack.down = {"audit"} if int(stack.now) % 20 > 2 else set()

    fired = stack.fired_after(120, restart)
    assert {"audit_down", "service_restarting"} <= fired.keys()
    assert fired["audit_down"] <= 22
    assert fired["service_restarting"] <= 80


def test_the_kv_cache_is_exhausted(stack):
    began = stack.now
    stack.gauge("strongroom_inference_kv_used_tokens", 32_700)
    stack.gauge("strongroom_inference_running_requests", 3)
    stack.gauge("strongroom_gateway_queue_oldest_seconds", lambda: min(stack.now - began, 4), priority="standard")

    fired = stack.fired_after(120, lambda: stack.demand(fill=0.5))
    assert fired == {"kv_cache_full": 32, "slots_idle": 120, "slots_mostly_idle": 120}
    assert "KV_MEMORY_SHARE" in remedies(stack, "kv_cache_full")["kv_cache_full"]


def test_memory_runs_out(stack):
    fired = stack.fired_after(10, lambda: stack.count("strongroom_inference_failures_total", reason="OUT_OF_MEMORY"))
    assert fired == {"out_of_memory": 2}
    said = remedies(stack, "out_of_memory")["out_of_memory"]
    for word in ("smaller batch", "quantized", "offload", "gradient checkpointing"):
        assert word in said


def test_passes_are_cut_short_by_memory(stack):
    """While no request fails of it: out_of_memory covers it else."""
    stack.pass_time(10)
    stack.count("strongroom_inference_memory_short_total")
    assert stack.fired_after(10) == {"memory_short": 2}
    said = stack.definition.rule("memory_short").remedy
    for setting in ("KV_MEMORY_SHARE", "SLOTS", "PREFILL_TOKENS"):
        assert f"STRONGROOM_INFERENCE_{setting}" in said.en and f"STRONGROOM_INFERENCE_{setting}" in said.zh
    stack.count("strongroom_inference_failures_total", reason="OUT_OF_MEMORY")
    stack.pass_time(4)
    assert [alert.rule.id for alert in stack.board.firing if alert.covered] == ["memory_short"]


def test_output_is_unstable(stack):
    def unstable() -> None:
        stack.answer(4)
        stack.answer(1, end="WITHHELD")

    fired = stack.fired_after(60, unstable)
    assert fired == {"answers_withheld": 38}
    for word in ("temperature 0.7", "top_p 0.9", "limit on new tokens"):
        assert word in remedies(stack, "answers_withheld")["answers_withheld"]


@pytest.mark.parametrize(
    ("seconds", "fired"), [(0.4, {}), (0.7, {"first_text_slow"}), (2.0, {"first_text_slow", "first_text_very_slow"})]
)
def test_first_texts_come_late(stack, seconds, fired):
    assert stack.fired_after(300, lambda: stack.answer(2, first_text=seconds)).keys() == set(fired)


def test_two_slow_answers_in_a_quiet_hour_page_nobody(stack):
    def seldom() -> None:
        if int(stack.now) % 600 == 0:
            stack.answer(2, first_text=5.0)

    assert stack.pass_time(3600, seldom) == []


def test_requests_fail(stack):
    def half() -> None:
        stack.answer(1)
        stack.answer(1, end="FAILED")

    fired = stack.fired_after(60, half)
    assert fired == {"many_errors": 36, "errors": 50}
    assert [alert.id for alert in stack.board.firing if alert.covered] == ["errors"]


@pytest.mark.parametrize(
    ("event", "alert"),
    [
        ("refused_ticket_forged", "jobs_forged"),
        ("refused_replay", "jobs_forged"),
        ("refused_broken_seal", "jobs_forged"),
    ],
)
def test_a_single_forged_job_is_told(stack, event, alert):
    """Though the worker never counted one of its kind before."""
    stack.count("strongroom_inference_events_total", event=event)
    fired = stack.fired_after(10)
    assert fired == {"jobs_forged": 2}


def test_redis_goes_away(stack):
    stack.gauge("strongroom_gateway_neighbour_available", 0, neighbour="queue")
    assert stack.fired_after(30) == {"queue_unavailable": 8}


def test_the_policy_file_is_refused(stack):
    stack.gauge("strongroom_guard_policy_file_refused", 1)
    assert stack.fired_after(30) == {"policy_refused": 2}


def test_entries_wait_for_a_checkpoint(stack):
    stack.gauge("strongroom_audit_tree_entries", 101)
    assert stack.fired_after(120) == {"checkpoint_stale": 32}  # the last one was a minute old already
    stack.gauge("strongroom_audit_checkpoint_entries", 101)
    assert [alert.state for alert in stack.pass_time(10)] == [State.RESOLVED]


def test_a_log_that_was_rewritten_is_refused_by_its_witness(stack):
    began = stack.now
    stack.gauge("strongroom_audit_witness_timestamp_seconds", began, witness="w1")
    stack.gauge("strongroom_audit_witness_refuses", 1, witness="w1")
    assert stack.fired_after(400) == {"witness_refuses": 2, "witness_silent": 332}
    assert [alert.rule.id for alert in stack.board.firing if not alert.covered] == ["witness_refuses"]


def test_commits_take_long(stack):
    def slow() -> None:
        stack.commit(0.4)
        stack.commit(0.4)

    assert stack.fired_after(90, slow) == {"commits_slow": 50}


def test_a_gpu_idles_while_jobs_wait_and_only_then(stack):
    stack.gauge("strongroom_monitor_gpu_utilisation_ratio", 0.2, gpu="0")
    assert stack.pass_time(600) == []
    stack.gauge("strongroom_gateway_queue_oldest_seconds", 3, priority="standard")
    assert stack.fired_after(600) == {"gpu_starved": 242}


def test_a_full_gpu_is_told_only_while_first_texts_are_late(stack):
    stack.gauge("strongroom_monitor_gpu_utilisation_ratio", 1.0, gpu="0")
    assert stack.pass_time(600, lambda: stack.answer(2)) == []
    fired = stack.fired_after(600, lambda: stack.answer(2, first_text=0.7))
    assert fired.keys() == {"first_text_slow", "gpu_saturated"}


def test_a_cpu_under_pressure_is_told_only_while_first_texts_are_late(stack):
    def pressed(first_text: float) -> None:
        stack.answer(2, first_text)
        stack.count("strongroom_monitor_cpu_stalled_seconds_total", 1.9)
        stack.count("strongroom_monitor_cpu_periods_total", 20)
        stack.count("strongroom_monitor_cpu_throttled_periods_total", 10)

    assert stack.pass_time(600, lambda: pressed(0.1)) == []
    fired = stack.fired_after(600, lambda: pressed(0.7))
    assert fired.keys() == {"first_text_slow", "cpu_pressure", "cpu_throttled"}


def test_every_alert_of_the_game_day_has_a_remedy_in_both_languages(stack):
    for rule in stack.definition.rules:
        assert len(rule.remedy.en) > 20 and len(rule.remedy.zh) > 8
