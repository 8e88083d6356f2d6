"""A job is opened and its ticket checked before anything believes it."""

from collections import Counter
from dataclasses import replace

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from streams.jobs import (
    MOST_COST,
    UNKNOWN_COST,
    Entry,
    NotAJob,
    job_id,
    open_job,
    seal_job,
    token_cost,
    told_cost,
)
from streams.seal import BrokenSeal, QueueKeys, UnknownKey
from streams.ticket import TicketExpired, TicketForged

KEYS = QueueKeys(bytes(range(32)))
NOW_MS = 1_000_000


def delivered(job: pb.Job, keys: QueueKeys = KEYS) -> Entry:
    sealed = seal_job(keys, job)
    return Entry(
        work=sealed.work, entry_id="1-1", request_id=sealed.request_id, key_id=sealed.key_id, sealed=sealed.sealed
    )


def test_an_accepted_job_opens_to_the_bytes_that_were_accepted(make_job, ticket_key) -> None:
    opened = open_job(delivered(make_job(text="你好")), KEYS, ticket_key, NOW_MS)
    assert opened.body.messages[0].content == "你好"
    assert opened.kept_until_ms > opened.deadline_ms


def test_a_job_is_sealed_to_the_same_bytes_however_often(make_job) -> None:
    assert seal_job(KEYS, make_job()) == seal_job(KEYS, make_job())


def test_invariant_1_a_ticket_under_another_key_is_refused(make_job, ticket_key) -> None:
    """Fails if `check_ticket` does not compare the MAC."""
    with pytest.raises(TicketForged):
        open_job(delivered(make_job(key=b"f" * 32)), KEYS, ticket_key, NOW_MS)


def test_invariant_1_a_ticket_for_other_bytes_is_refused(make_job, ticket_key) -> None:
    """Fails if `_mac` leaves out the digest of the body."""
    accepted, run = make_job(text="accepted"), make_job(text="something else")
    run.ticket.CopyFrom(accepted.ticket)
    with pytest.raises(TicketForged):
        open_job(delivered(run), KEYS, ticket_key, NOW_MS)


def test_invariant_1_a_ticket_of_another_request_is_refused(make_job, ticket_key) -> None:
    """Fails if `_mac` leaves out the request id: then one body's ticket would serve every request with that body."""
    other = make_job("r-2")
    entry = replace(delivered(other), request_id="r-1")
    resealed = KEYS.cipher("r-1", 0, "job").seal(0, other.SerializeToString())
    with pytest.raises(TicketForged):
        open_job(replace(entry, sealed=resealed), KEYS, ticket_key, NOW_MS)


def test_invariant_1_each_job_of_a_request_runs_under_its_own_ticket_of_that_request(make_job, ticket_key) -> None:
    """Fails if `open_job` does not compare the entry with the body: a ticket would be good for as many entries as
    there are numbers behind the request's id."""
    jobs = [make_job(job_id("r-1", choice), ticket_of="r-1") for choice in range(3)]
    assert [open_job(delivered(job), KEYS, ticket_key, NOW_MS).body.request_id for job in jobs] == [
        "r-1",
        "r-1.1",
        "r-1.2",
    ]
    swapped = replace(delivered(jobs[2]), request_id="r-1.1")
    sealed = KEYS.cipher("r-1.1", 0, "job").seal(0, jobs[2].SerializeToString())
    with pytest.raises(NotAJob):
        open_job(replace(swapped, sealed=sealed), KEYS, ticket_key, NOW_MS)
    jobs[1].ticket.CopyFrom(jobs[2].ticket)
    with pytest.raises(TicketForged):
        open_job(delivered(jobs[1]), KEYS, ticket_key, NOW_MS)


def test_invariant_1_a_ticket_with_another_expiry_is_refused(make_job, ticket_key) -> None:
    """Fails if `_mac` leaves out the expiry."""
    job = make_job()
    job.ticket.expire_time.FromMilliseconds(9_000_000)
    with pytest.raises(TicketForged):
        open_job(delivered(job), KEYS, ticket_key, NOW_MS)


def test_invariant_1_a_ticket_of_another_log_is_refused(make_job, ticket_key) -> None:
    """Fails if `_mac` leaves out the log's origin."""
    job = make_job()
    job.ticket.log_origin = "other.log"
    with pytest.raises(TicketForged):
        open_job(delivered(job), KEYS, ticket_key, NOW_MS)


def test_invariant_1_an_expired_ticket_is_refused(make_job, ticket_key) -> None:
    """Fails if `check_ticket` does not look at the clock."""
    with pytest.raises(TicketExpired):
        open_job(delivered(make_job(expires_ms=NOW_MS)), KEYS, ticket_key, NOW_MS)


def test_a_job_without_a_ticket_is_refused(make_job, ticket_key) -> None:
    job = make_job()
    job.ClearField("ticket")
    with pytest.raises(TicketForged):
        open_job(delivered(job), KEYS, ticket_key, NOW_MS)


def test_a_job_under_a_strange_queue_key_is_refused(make_job, ticket_key) -> None:
    with pytest.raises(UnknownKey):
        open_job(delivered(make_job(), QueueKeys(b"s" * 32)), KEYS, ticket_key, NOW_MS)


def test_an_altered_or_renamed_entry_is_refused(make_job, ticket_key) -> None:
    entry = delivered(make_job())
    for altered in (
        replace(entry, sealed=entry.sealed[:-1] + bytes([entry.sealed[-1] ^ 1])),
        replace(entry, request_id="r-2"),
    ):
        with pytest.raises(BrokenSeal):
            open_job(altered, KEYS, ticket_key, NOW_MS)


def test_an_entry_that_is_empty_or_no_job_is_refused(make_job, ticket_key) -> None:
    entry = delivered(make_job())
    garbage = KEYS.cipher("r-1", 0, "job").seal(0, b"\xff\xff\xff")
    for sealed in (b"", garbage):
        with pytest.raises(NotAJob):
            open_job(replace(entry, sealed=sealed), KEYS, ticket_key, NOW_MS)


def test_a_class_that_no_worker_reads_is_not_queued(make_job) -> None:
    job = make_job()
    body = pb.JobBody.FromString(job.body)
    body.priority = "urgent"
    with pytest.raises(ValueError, match="interactive, standard, batch"):
        seal_job(KEYS, pb.Job(body=body.SerializeToString()))


def test_what_a_job_costs_is_told_in_clear_and_is_what_its_worker_reckons(make_job, ticket_key) -> None:
    job = make_job(text="x" * 400)
    sealed = seal_job(KEYS, job)
    assert sealed.cost == token_cost(open_job(delivered(job), KEYS, ticket_key, NOW_MS).body) == 100


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        (b"7", 7), (b"0", 1), (b"9" * 9, MOST_COST),
        (b"-7", UNKNOWN_COST), (b"", UNKNOWN_COST), (b"7.5", UNKNOWN_COST), (b"9" * 99, UNKNOWN_COST),
    ],
)  # fmt: skip
def test_a_cost_that_nobody_vouches_for_is_believed_within_bounds(told: bytes, cost: int) -> None:
    assert told_cost(told) == cost


def test_a_tenant_has_one_bucket_in_every_process_and_tenants_are_spread_over_all() -> None:
    """Fails if `QueueKeys.bucket` uses `hash`, or no key. The numbers are HKDF's (RFC 5869), computed apart."""
    assert [KEYS.bucket(name, 16) for name in ("a", "b", "租户")] == [10, 6, 3]
    assert KEYS.bucket("a", 1) == 0
    names, others = [str(n) for n in range(1600)], QueueKeys(b"o" * 32)
    assert [KEYS.bucket(name, 16) for name in names] != [others.bucket(name, 16) for name in names]
    counts = Counter(KEYS.bucket(name, 16) for name in names)
    assert len(counts) == 16 and max(counts.values()) < 2 * min(counts.values())
