"""What the life of a request needs of guard, audit and queue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chassis.failures import ResourceExhausted
from services.gateway.requests.channel import CONTENT
from services.gateway.requests.outcome import Accepted, End, Filtered, Made, ReadBack, Screening, Step
from services.gateway.requests.question import Adapter, Caller, Message, Sampling


class FilterLost(Exception):
    """The guard has no filter for this answer any more: feed it the whole text again."""


class RecordEnded(Exception):
    """Audit has ended this record already; nothing more of it may be sent."""


class KeyHeld(Exception):
    """The idempotency key belongs to another request, or to this very one, asked before."""

    def __init__(self, request_id: str, same_request: bool) -> None:
        super().__init__(request_id)
        self.request_id, self.same_request = request_id, same_request


class AuditFull(ResourceExhausted):
    """Audit's disk has room for no new record, not even of what was turned away."""


@dataclass(frozen=True, slots=True)
class Party:
    """For whom a request runs."""

    caller: Caller
    subject: str
    sealed_with: str = ""  # of a replay, in the subject's place: the key of the record that it replays


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the model's weights are held, and what that is expected to cost. Empty: as they are."""

    mode: str = ""
    loss: str = ""


NOT_QUANTIZED = Quantization()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What live workers say of a model."""

    name: str
    engine: str
    context_tokens: int
    workers: int
    template_digest: bytes
    seen_ms: int
    adapters: Mapping[str, bytes] = field(default_factory=dict)  # name to digest: what each of its workers has loaded
    vocabulary: int = 0  # token ids are below it; 0: they have not said
    lacks: frozenset[str] = frozenset()  # what its engine has not: fields of Sampling, adapter
    engines: str = ""  # name and version; those of all its workers, where they differ: any may claim the job
    quantization: Quantization = NOT_QUANTIZED


class Grammars(Protocol):
    """Reads grammars before anything is accepted."""

    async def check(self, kind: str, text: str, field: str) -> None:
        """Raises InvalidArgument naming `field` where one cannot be used."""


class Guard(Protocol):
    """Screens prompts and filters answers."""

    def require(self) -> None:
        """Raises Unavailable while the guard is away."""

    async def screen(
        self,
        request_id: str,
        messages: Sequence[Message],
        deadline: float,
        texts: Sequence[str] = (),
        conversation: bytes = b"",
    ) -> Screening:
        """`texts`: what else of the caller's shapes the answer. They are judged with the messages, and not masked.
        `conversation` names the one that reversible tokens are of."""

    async def filter(
        self,
        request_id: str,
        policy_digest: bytes,
        n: int,
        text: str,
        last: bool,
        deadline: float,
        released: int | None = None,
        channel: str = CONTENT,
        choice: int = 0,
    ) -> Filtered:
        """The next piece of one channel of one choice; with `released`, all of it so far for a filter that was lost.

        Raises FilterLost."""


class Audit(Protocol):
    """Makes entries durable. Each call sends its entry at once; what it returns is done when that is durable, and
    waiting for it may be given up: the entry stays on its way."""

    def require(self) -> None:
        """Raises Unavailable while audit is away."""

    def require_room(self) -> None:
        """Raises AuditFull while it takes no new records."""

    def accept(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        deadline_ms: int,
        job_digests: Sequence[bytes],
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> asyncio.Future[Accepted]:
        """Or KeyHeld. A ticket for each job."""

    def refuse(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        rule: str,
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> asyncio.Future[str]:
        """The receipt, or KeyHeld."""

    def release(self, request_id: str, n: int, content: bytes) -> asyncio.Future[None]:
        """Or RecordEnded."""

    def end(
        self, request_id: str, end: End, usage: tuple[int, int], releases: int | None, fields: Mapping[str, bytes]
    ) -> asyncio.Future[str]:
        """The receipt, or RecordEnded. `releases`: how many it must follow; None: however many there are."""

    async def outcome(self, request_id: str, party: Party) -> ReadBack | None:
        """What a finished request's caller was given; None while it runs, or where nothing is kept."""

    async def know_policy(self, digest: bytes) -> None:
        """Makes sure that the log holds the text of this policy bundle."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job not yet ticketed: the bytes a worker will run, and where they go. Each choice of a request has its own."""

    job_id: str  # of the first choice: the request's
    body: bytes
    model: str
    priority: str
    deadline_ms: int


class Steps(Protocol):
    """What the workers did for one request."""

    async def take(self) -> list[Step]:
        """All steps that wait, as soon as there is one. The worker sends them as they are due.

        Raises Unavailable when the rest of the answer is lost."""

    def made(self) -> Made:
        """Everything so far."""

    async def stop(self) -> None:
        """Nobody needs the rest of it. Never raises."""


class Queue(Protocol):
    """The Redis streams between us and the workers."""

    def require(self, model: str, priority: str, jobs: int = 1) -> None:
        """Raises Unavailable while the queue is away, ResourceExhausted while it has no room for so many."""

    def job(
        self,
        request_id: str,
        messages: Sequence[Message],
        model: str,
        sampling: Sampling,
        caller: Caller,
        deadline_ms: int,
        priority: str,
        adapter: Adapter,
        choice: int = 0,
    ) -> Job:
        """The job's plaintext; its SHA-256 goes into the ACCEPTED entry."""

    async def submit(self, job: Job, accepted: Accepted, choice: int = 0) -> Steps:
        """Queues a job with its ticket; what the workers do for it arrives in the Steps."""

    async def cancel(self, job_id: str) -> None:
        """Tells whoever runs it to stop. Never raises: the tombstone is set when the queue is back."""

    def forget(self, job_id: str) -> None:
        """Nothing more of this job is read."""

    def models(self) -> Mapping[str, ServedModel]: ...
