"""Neighbours of a life in memory: they keep what they were told and assert the order that their contract demands."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from chassis.exchange import MAX_ITEM_BYTES
from chassis.failures import ResourceExhausted, Unavailable
from services.gateway.requests.life import Life
from services.gateway.requests.neighbours import AuditFull, FilterLost, Job, KeyHeld, Party, RecordEnded, ServedModel
from services.gateway.requests.outcome import (
    ALLOW,
    Accepted,
    Broken,
    End,
    Event,
    Filtered,
    Made,
    Outcome,
    ReadBack,
    Screening,
    Step,
)
from services.gateway.requests.question import Caller, Message, Profile, Question, Sampling
from services.gateway.requests.terms import Neighbours, Terms

POLICY = b"p" * 32


@dataclass
class Gate:
    """Lets calls through while open; tests close it to stand between a call and its completion."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.opened.set()


@dataclass
class MemoryAudit:
    """A log in memory. `journal` is what is durable; a closed gate keeps entries from becoming so."""

    away: bool = False
    gate: Gate = field(default_factory=Gate)
    journal: list[tuple[str, str, object]] = field(default_factory=list)
    policies: set[bytes] = field(default_factory=set)
    reaped: set[str] = field(default_factory=set)
    refuses_releases: bool = False
    refuses_from: int = 0  # the number of the first release that it does
    accepted: list[Mapping[str, bytes]] = field(default_factory=list)  # the fields of each ACCEPTED
    parties: list[Party] = field(default_factory=list)  # of each ACCEPTED
    sent: list[str] = field(default_factory=list)  # kinds, whether durable or not
    full: AuditFull | None = None
    held: KeyHeld | None = None  # whose idempotency key it is
    kept: ReadBack | None = None  # what that request was answered

    def kinds(self, request_id: str) -> list[str]:
        return [kind for kind, record, _ in self.journal if record == request_id]

    def require(self) -> None:
        if self.away:
            raise Unavailable("audit is away", reason="AUDIT_UNAVAILABLE")

    def require_room(self) -> None:
        if self.full:
            raise self.full

    def accept(self, *given: Any) -> asyncio.Future[Accepted]:
        return asyncio.ensure_future(self._accept(*given))

    def refuse(self, *given: Any) -> asyncio.Future[str]:
        return asyncio.ensure_future(self._refuse(*given))

    def release(self, *given: Any) -> asyncio.Future[None]:
        _require_small(given[-1])
        self.sent.append("RELEASE")
        return asyncio.shield(self._release(*given))  # on its way, whoever gives up waiting

    def end(self, *given: Any) -> asyncio.Future[str]:
        _require_small(*given[-1].values())
        self.sent.append("END")
        return asyncio.shield(self._end(*given))

    async def _accept(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        deadline_ms: int,
        job_digests: Sequence[bytes],
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> Accepted:
        of_caller = set() if party.sealed_with else {"request_received"}
        assert set(fields) == {"request_sent", "parameters", "findings"} | of_caller
        await self.gate.opened.wait()
        if self.held:
            raise self.held
        assert self.kinds(request_id) == [], "one ACCEPTED a record"
        self.journal.append(("ACCEPTED", request_id, list(job_digests)))
        self.accepted.append(fields)
        self.parties.append(party)
        return Accepted(tuple(b"ticket of " + digest for digest in job_digests), "dev.test/log", deadline_ms)

    async def _refuse(
        self,
        request_id: str,
        party: Party,
        model: str,
        trace_id: str,
        rule: str,
        idempotency_key: str,
        fields: Mapping[str, bytes],
    ) -> str:
        assert set(fields) == {"request_received", "parameters", "findings", "answer_released"}
        await self.gate.opened.wait()
        if self.held:
            raise self.held
        assert self.kinds(request_id) == [], "REFUSED is the whole record"
        self.journal.append(("REFUSED", request_id, dict(fields)))
        return "receipt"

    async def _release(self, request_id: str, n: int, content: bytes) -> None:
        await self.gate.opened.wait()
        if request_id in self.reaped:
            raise RecordEnded
        if self.refuses_releases and n >= self.refuses_from:
            raise Unavailable("not now", reason="AUDIT_UNAVAILABLE")
        assert self.kinds(request_id) == ["ACCEPTED"] + ["RELEASE"] * n, "releases count up after ACCEPTED"
        self.journal.append(("RELEASE", request_id, content))

    async def _end(
        self, request_id: str, end: End, usage: tuple[int, int], releases: int | None, fields: Mapping[str, bytes]
    ) -> str:
        whole = {"answer_generated", "answer_released", "findings"}
        assert set(fields) - {"generation"} == whole or (
            end.reason == "ANSWER_TOO_LARGE" and set(fields) <= {"findings"}
        )
        await self.gate.opened.wait()
        if request_id in self.reaped:
            raise RecordEnded
        assert self.kinds(request_id)[:1] == ["ACCEPTED"] and "END" not in self.kinds(request_id), "exactly one END"
        if releases not in (None, self.kinds(request_id).count("RELEASE")):
            raise Unavailable("not all its releases are durable", reason="RELEASE_OUT_OF_ORDER")
        self.journal.append(("END", request_id, (end, dict(fields))))
        return "receipt"

    async def outcome(self, request_id: str, party: Party) -> ReadBack | None:
        assert self.held and request_id == self.held.request_id and party.caller.tenant
        return self.kept

    async def know_policy(self, digest: bytes) -> None:
        self.policies.add(digest)


def _require_small(*contents: bytes) -> None:
    """As the stream to audit does: at once, and nothing is sent."""
    if sum(map(len, contents)) > MAX_ITEM_BYTES:
        raise ResourceExhausted("an item for audit has too many bytes", reason="AUDIT_ITEM_TOO_LARGE")


@dataclass
class MemoryGuard:
    """Screens with a fixed verdict; filters with a function over each piece."""

    away: bool = False
    screening: Screening = field(
        default_factory=lambda: Screening(ALLOW, POLICY, messages=(Message("system", "ours"), Message("user", "hello")))
    )
    filtering: Callable[[str, bool], Filtered] = lambda text, last: Filtered(text)
    lose_at: int = -1  # the piece at which the filter is found lost
    fed: list[tuple[int, str, int | None]] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    texts: tuple[str, ...] = ()  # beside the messages last screened
    conversation: bytes = b""  # that those were of

    def require(self) -> None:
        if self.away:
            raise Unavailable("guard is away", reason="GUARD_UNAVAILABLE")

    async def screen(
        self,
        request_id: str,
        messages: Sequence[Message],
        deadline: float,
        texts: Sequence[str] = (),
        conversation: bytes = b"",
    ) -> Screening:
        self.require()
        self.texts, self.conversation = tuple(texts), conversation
        await asyncio.sleep(0)
        return self.screening

    async def filter(
        self,
        request_id: str,
        policy_digest: bytes,
        n: int,
        text: str,
        last: bool,
        deadline: float,
        released: int | None = None,
        channel: str = "content",
        choice: int = 0,
    ) -> Filtered:
        assert policy_digest == self.screening.policy_digest, "a filter is pinned to the bundle that screened"
        self.fed.append((n, text, released))
        self.channels.append(channel)
        self.choices.append(choice)
        await asyncio.sleep(0)
        if n == self.lose_at and released is None:
            raise FilterLost
        return self.filtering(text[released:] if released is not None else text, last)


@dataclass
class MemoryQueue:
    """Runs a script of steps for each submitted job; submitting before ACCEPTED is durable, or with another job's
    ticket, fails the test."""

    audit: MemoryAudit
    script: list[Step] = field(default_factory=lambda: [Step("Hello"), Step(" world", "STOP", "", 7, 2)])
    scripts: dict[int, list[Step]] = field(default_factory=dict)  # of choices with one of their own
    full: bool = False
    made: Made = field(default_factory=Made)  # what every job's worker tells of its tokens
    asked: list[Sampling] = field(default_factory=list)  # of each job
    submitted: list[Job] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def require(self, model: str, priority: str, jobs: int = 1) -> None:
        if self.full:
            raise Unavailable("the queue is away", reason="QUEUE_UNAVAILABLE")

    def job(self, request_id: str, messages, model, sampling, caller, deadline_ms, priority, adapter, choice=0) -> Job:  # type: ignore[no-untyped-def]
        assert messages and messages[0].role == "system"
        self.asked.append(sampling)
        body = repr((messages, choice)).encode()
        return Job(f"{request_id}.{choice}" if choice else request_id, body, model, priority, deadline_ms)

    async def submit(self, job: Job, accepted: Accepted, choice: int = 0) -> ScriptedSteps:
        kinds = self.audit.kinds(job.job_id.partition(".")[0])
        assert kinds[:1] == ["ACCEPTED"], "invariant 1: no model input before ACCEPTED"
        assert accepted.tickets[choice] == b"ticket of " + hashlib.sha256(job.body).digest(), "invariant 1: its own"
        self.submitted.append(job)
        steps = list(self.scripts.get(choice, self.script))
        return ScriptedSteps(steps, job.job_id, self.cancelled, self.made)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def forget(self, job_id: str) -> None:
        self.forgotten.append(job_id)

    def models(self) -> Mapping[str, ServedModel]:
        return {"tiny": ServedModel("tiny", "echo", 256, 1, b"t" * 32, 0, {"tone": b"d" * 32})}


@dataclass
class ScriptedSteps:
    """One step at a time, each on another turn of the loop; then silence."""

    steps: list[Step]
    job_id: str
    cancelled: list[str]
    told: Made = field(default_factory=Made)

    async def take(self) -> list[Step]:
        await asyncio.sleep(0)
        if not self.steps:
            await asyncio.Event().wait()
        return [self.steps.pop(0)]

    def made(self) -> Made:
        return self.told

    async def stop(self) -> None:
        self.cancelled.append(self.job_id)


class Bench:
    """Lives with their neighbours in memory."""

    def __init__(self) -> None:
        self.audit, self.guard = MemoryAudit(), MemoryGuard()
        self.queue = MemoryQueue(self.audit)
        self.neighbours = Neighbours(self.guard, self.audit, self.queue)
        self.question = Question((Message("user", "hello"),), model="tiny")
        self.caller = Caller("development", "developer")

    def life(self, seconds: float = 5.0, *, streamed: bool = True) -> Life:
        now = asyncio.get_running_loop().time()
        profile = Profile()
        return Life(
            Terms(
                request_id="0190-test",
                trace_id="0" * 32,
                question=self.question,
                caller=self.caller,
                model="tiny",
                template_digest=b"t" * 32,
                context_tokens=1024,
                sampling=profile.resolve(self.question.sampling, 1),
                deadline=now + seconds,
                deadline_ms=int((time.time() + seconds) * 1000),
                streamed=streamed,
            ),
            self.neighbours,
        )

    @staticmethod
    async def events(life: Life) -> list[Event]:
        """All events of a life that somebody runs."""
        events: list[Event] = []
        while not events or not isinstance(events[-1], Outcome | Broken):
            events.append(await life.next_event())
        return events


@pytest.fixture
def bench() -> Bench:
    return Bench()
