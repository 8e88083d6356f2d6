"""A job on its way: sealed once by the gateway, opened and checked by the worker before anything believes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from google.protobuf.message import DecodeError
from strongroom.inference.v1.inference_pb2 import Job, JobBody

from streams import keys
from streams.seal import JOB, JOB_EPOCH, JOB_N, QueueKeys
from streams.ticket import check_ticket

KEPT_MS = 60_000  # what is kept about a request outlives its deadline and its ticket by this
BYTES_A_TOKEN = 4  # of usual text; decides only whose turn it is and what is claimed, never what is admitted
UNKNOWN_COST = 512  # of an entry that names none: an older gateway's
MOST_COST = 1_000_000  # the seal does not cover the number


class NotAJob(Exception):
    """The entry is no job of this contract. Carries a reason for the counters, never content."""

    reason: ClassVar[str] = "NOT_A_JOB"


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedJob:
    """What the gateway adds to a work stream; the same bytes however often."""

    request_id: str
    model: str
    priority: str
    work: str
    key_id: str
    sealed: bytes
    cost: int  # in clear; the sealed bytes' length tells no less of the prompt
    deadline_ms: int

    @property
    def kept_until_ms(self) -> int:
        return self.deadline_ms + KEPT_MS


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A delivered entry of a work stream, believed by nobody yet."""

    work: str
    entry_id: str
    request_id: str
    key_id: str
    sealed: bytes
    cost: int = UNKNOWN_COST


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedJob:
    """A job that audit vouches for."""

    entry: Entry
    body: JobBody
    queued_ns: int  # wall clock
    kept_until_ms: int

    @property
    def deadline_ms(self) -> int:
        return self.body.deadline_time.ToMilliseconds()


def job_id(request_id: str, choice: int) -> str:
    """Each of a request's answers is a job of its own; the first one's id is the request's."""
    return f"{request_id}.{choice}" if choice else request_id


def request_of(job: str) -> str:
    """Whose answer the job with this id is."""
    return job.partition(".")[0]


def token_cost(body: JobBody) -> int:
    """Of prompt and longest answer, before anybody has counted."""
    return sum(len(message.content.encode()) for message in body.messages) // BYTES_A_TOKEN + body.sampling.max_tokens


def told_cost(told: bytes) -> int:
    """What an entry says of itself, within bounds."""
    return min(max(int(told), 1), MOST_COST) if told.isdigit() and len(told) < 10 else UNKNOWN_COST


def seal_job(queue_keys: QueueKeys, job: Job, buckets_of: Callable[[str], int] = lambda model: 1) -> SealedJob:
    """Call it once a request: the nonce is fixed, so two different jobs under one id would share it. `buckets_of` a
    model: how many its tenants are spread over."""
    body = JobBody.FromString(job.body)
    if body.priority not in keys.CLASSES:
        raise ValueError(f"priority must be one of {', '.join(keys.CLASSES)}")
    cipher = queue_keys.cipher(body.request_id, JOB_EPOCH, JOB)
    bucket = queue_keys.bucket(body.tenant, buckets_of(body.model))
    return SealedJob(
        request_id=body.request_id,
        model=body.model,
        priority=body.priority,
        work=keys.work(body.model, body.priority, bucket),
        key_id=cipher.key_id,
        sealed=cipher.seal(JOB_N, job.SerializeToString()),
        cost=token_cost(body),
        deadline_ms=body.deadline_time.ToMilliseconds(),
    )


def open_job(entry: Entry, queue_keys: QueueKeys, ticket_key: bytes, now_ms: int) -> OpenedJob:
    """Raises SealError, TicketRefused or NotAJob: then the entry never reaches an engine."""
    if not entry.sealed:
        raise NotAJob
    cipher = queue_keys.cipher(entry.request_id, JOB_EPOCH, JOB, under=entry.key_id)
    try:
        job = Job.FromString(cipher.open(JOB_N, entry.sealed))
        # The ticket is the request's, for this job's bytes alone.
        expires_ms = check_ticket(ticket_key, job, request_of(entry.request_id), now_ms)
        body = JobBody.FromString(job.body)
    except DecodeError:
        raise NotAJob from None
    if body.request_id != entry.request_id:
        raise NotAJob
    kept_until_ms = max(expires_ms, body.deadline_time.ToMilliseconds()) + KEPT_MS
    queued_ns = job.queue_time.ToNanoseconds()
    return OpenedJob(entry=entry, body=body, queued_ns=queued_ns, kept_until_ms=kept_until_ms)
