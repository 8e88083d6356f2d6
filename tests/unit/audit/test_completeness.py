"""What the log says was done is held against what the workers counted by themselves."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.audit.completeness.counts import Difference, Kind
from services.audit.completeness.ledger import KEPT_BOOTS, SAMPLE_SECONDS, SETTLED_SECONDS, Ledger
from services.audit.completeness.recount import recount
from services.audit.records.entries import Act, Ending
from services.audit.records.planning import HEARTBEAT, Control, Presence, Reap

TWO_JOBS = (bytes([1]) * 32, bytes([2]) * 32)


def counted(jobs: int, finished: int, tokens: int, worker: str = "w1", boot: str = "boot-1") -> Act:
    """A worker's word, as it comes through RecordAct."""
    detail = json.dumps({"worker": worker, "jobs": jobs, "finished": finished, "tokens": tokens}).encode()
    return Act(service="inference", actor="inference", action="JOBS_COUNTED", target=boot, detail=detail)


def explained(boot: str = "boot-1", **differences: int) -> Act:
    detail = json.dumps({"reason": "Redis lost a second", "differences": differences}).encode()
    return Act(service="audit", actor="reviewer", action="DIFFERENCE_EXPLAINED", target=boot, detail=detail)


def differences(writer) -> dict[str, int]:
    found = writer.open_differences()
    assert {each.boot for each in found} <= {"boot-1"}
    return {each.kind.value: each.count for each in found}


def pass_time(log, writer, seconds: float) -> None:
    """As the sequencer does, only not every second."""
    for _ in range(int(seconds // SAMPLE_SECONDS) + 1):
        log.time.advance(SAMPLE_SECONDS)
        writer.commit([Presence("boot-1", True), Reap()])


def answered(gateway, record_id: str, tokens: int = 1, **accepting: object) -> list[object]:
    usage = {"input_tokens": 2, "output_tokens": tokens}
    return [gateway.accept(record_id, **accepting), gateway.end(record_id, usage=usage)]


def test_counts_that_agree_leave_nothing_open(audit_log, gateway) -> None:
    """A request for two answers is two jobs; of one that was cancelled a worker may have finished more or nothing."""
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1", 5), *answered(gateway, "r2", 7, job_digests=TWO_JOBS)])
    writer.commit([gateway.accept("r3"), gateway.end("r3", Ending.CANCELLED), gateway.accept("r4")])
    writer.commit([counted(2, 2, 8), counted(2, 2, 40, worker="w2")])
    pass_time(audit_log, writer, 2 * SETTLED_SECONDS)
    assert differences(writer) == {}


def test_a_job_that_the_log_does_not_know_is_open_at_once(audit_log, gateway) -> None:
    """Fails if only settled counts are compared: nothing that comes later makes this good."""
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1"), counted(1, 1, 1)])
    assert differences(writer) == {}
    writer.commit([counted(1, 1, 1, worker="w2")])
    assert differences(writer) == {"unrecorded_jobs": 1}
    assert writer.open_differences() == [Difference("boot-1", Kind.UNRECORDED_JOBS, 1)]


def test_jobs_of_a_gateway_that_the_log_never_heard_of_are_open(audit_log) -> None:
    writer = audit_log.open()
    writer.commit([counted(3, 0, 0, boot="boot-9")])
    assert writer.open_differences() == [Difference("boot-9", Kind.UNRECORDED_JOBS, 3)]


def test_answers_that_no_worker_counted_are_open_once_workers_had_time_to_tell(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1", 5), *answered(gateway, "r2", 7), counted(1, 1, 5)])
    pass_time(audit_log, writer, SETTLED_SECONDS / 2)
    assert differences(writer) == {}
    pass_time(audit_log, writer, SETTLED_SECONDS)
    assert differences(writer) == {"uncounted_jobs": 1, "uncounted_tokens": 7}
    writer.commit([counted(2, 2, 12)])
    assert differences(writer) == {}


def test_under_load_what_workers_tell_half_a_minute_late_is_never_open(audit_log, gateway) -> None:
    """Fails if counts are compared as they stand: a gateway that is never idle would never be in order."""
    writer = audit_log.open()
    told = [(0, 0)]
    for n in range(60):
        writer.commit([*answered(gateway, f"r{n}", 3), gateway.accept(f"open{n}")])
        told.append((n + 1, 3 * (n + 1)))
        jobs, tokens = told[max(n - 2, 0)]
        writer.commit([counted(jobs, jobs, tokens)])
        pass_time(audit_log, writer, 0)
        assert differences(writer) == {}


def test_tokens_that_no_end_tells_of_are_open_once_all_is_quiet(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1", 5), counted(1, 1, 9)])
    assert differences(writer) == {}
    pass_time(audit_log, writer, 2 * SETTLED_SECONDS)
    assert differences(writer) == {"unrecorded_tokens": 4}


def test_a_count_that_comes_late_or_twice_takes_nothing_back(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1"), *answered(gateway, "r2")])
    writer.commit([counted(2, 2, 2), counted(1, 1, 1), counted(2, 2, 2)])
    pass_time(audit_log, writer, 2 * SETTLED_SECONDS)
    assert differences(writer) == {}


@pytest.mark.parametrize("detail", [b"", b"[]", b'{"worker":"w"}', b'{"worker":"w","jobs":-1,"finished":0,"tokens":0}'])
def test_a_count_that_cannot_be_read_changes_nothing(audit_log, detail) -> None:
    writer = audit_log.open()
    writer.commit([Act(service="inference", actor="i", action="JOBS_COUNTED", target="boot-1", detail=detail)])
    writer.commit([replace(counted(1, 1, 1), service="guard")])
    assert writer.open_differences() == []


def test_what_was_explained_is_open_again_only_when_there_is_more_of_it(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([counted(2, 0, 0), explained(unrecorded_jobs=2)])
    assert differences(writer) == {}
    writer = audit_log.open()
    assert differences(writer) == {}
    writer.commit([counted(3, 0, 0)])
    assert differences(writer) == {"unrecorded_jobs": 3}


def test_an_explanation_holds_after_a_restart_for_what_is_found_only_later(audit_log, gateway) -> None:
    """Fails if what is explained is what differs when the entry is read: nothing has settled then."""
    writer = audit_log.open()
    writer.commit(answered(gateway, "r1", 5))
    pass_time(audit_log, writer, 2 * SETTLED_SECONDS)
    assert differences(writer) == {"uncounted_jobs": 1, "uncounted_tokens": 5}
    writer.commit([explained(**differences(writer))])
    writer = audit_log.open()
    pass_time(audit_log, writer, 2 * SETTLED_SECONDS)
    assert differences(writer) == {}


def test_a_record_that_audit_ended_itself_is_its_boots(audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", job_digests=TWO_JOBS)])
    audit_log.time.advance(10)
    writer.commit([Reap()])
    [(boot, counts)] = writer.ledger.boots()
    assert (boot, counts.accepted, counts.otherwise, counts.open) == ("boot-1", 2, 2, 0)
    audit_log.crash()
    assert list(audit_log.open().ledger.boots()) == [(boot, counts)]


def test_numbers_that_no_entry_has_are_found_at_the_start(audit_log, gateway) -> None:
    """Fails if `visit` does not look at the number before."""
    writer = audit_log.open()
    writer.commit([gateway.accept("r1")])
    writer.recorder.boots.advance("boot-1", 4)  # as if 1 to 4 had been in the journal once
    gateway.sequence = 4
    writer.commit([gateway.end("r1")])
    assert writer.open_differences() == []
    assert audit_log.open().open_differences() == [Difference("boot-1", Kind.MISSING_ENTRIES, 4)]


def test_a_log_from_before_there_were_counts_is_counted_from_now_on(audit_log, gateway) -> None:
    """Fails if all of it is counted: no worker ever told of those answers, and nothing could be exported."""
    writer = audit_log.open()
    writer.commit([*answered(gateway, "r1"), gateway.accept("r2", job_digests=TWO_JOBS)])
    ledger, recorder = Ledger(lambda: 0.0), writer.recorder
    recount(ledger, writer.stored, recorder.recent, [], recorder.open.values())
    [(boot, counts)] = ledger.boots()
    assert (boot, counts.accepted, counts.ended.jobs) == ("boot-1", 2, 0)


STEPS = st.lists(
    st.sampled_from(["answer", "two", "open", "cancel", "count", "explain", "beat", "crash", "stop"]), max_size=14
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_counts_are_the_same_after_any_restart(tmp_path_factory, new_log, new_gateway, steps) -> None:
    """Fails if a snapshot misses an entry before it, or one behind it is counted twice."""
    log, gateway = new_log(tmp_path_factory.mktemp("log")), new_gateway("boot-1")
    writer, n = log.open(), 0
    for step in steps:
        n += 1
        if step in ("crash", "stop"):
            if step == "stop":
                writer.stop()
            before = dict(writer.ledger.boots())
            writer = log.open()
            assert {boot: counts.found() for boot, counts in before.items()} == {
                boot: counts.found() for boot, counts in writer.ledger.boots()
            }
            assert [kept(counts) for counts in before.values()] == [kept(each) for _, each in writer.ledger.boots()]
            continue
        if step == "beat":
            log.time.advance(400)  # of two beats one has a snapshot
        made = {
            "answer": lambda: answered(gateway, f"r{n}", n),  # noqa: B023 (called at once)
            "two": lambda: answered(gateway, f"r{n}", n, job_digests=TWO_JOBS),  # noqa: B023
            "open": lambda: [gateway.accept(f"r{n}")],  # noqa: B023
            "cancel": lambda: [gateway.accept(f"r{n}"), gateway.end(f"r{n}", Ending.CANCELLED)],  # noqa: B023
            "count": lambda: [counted(n, n, 3 * n)],  # noqa: B023
            "explain": lambda: [explained(unrecorded_jobs=n)],  # noqa: B023
            "beat": lambda: [Control(HEARTBEAT)],
        }[step]
        writer.commit(made())
    log.crash()


def kept(counts) -> tuple[object, ...]:
    """What a restart keeps; what has settled is seen anew."""
    return counts.accepted, counts.ended, counts.otherwise, counts.missing, counts.workers, counts.explained


def test_boots_in_order_are_forgotten_and_those_that_differ_are_not() -> None:
    now = [0.0]
    ledger = Ledger(lambda: now[0])
    ledger.act("inference", "JOBS_COUNTED", "odd", counted(1, 0, 0).detail)
    for n in range(KEPT_BOOTS + 40):
        ledger.accepted(f"boot-{n}", 1)
        ledger.ended(f"boot-{n}", 1, {"end": "COMPLETED", "usage": {"output_tokens": 1}})
        ledger.act("inference", "JOBS_COUNTED", f"boot-{n}", counted(1, 1, 1).detail)
    for _ in range(20):
        now[0] += SAMPLE_SECONDS
        ledger.look()
    boots = [boot for boot, _ in ledger.boots()]
    assert len(boots) == KEPT_BOOTS and "odd" in boots and "boot-103" in boots and "boot-0" not in boots
