"""The life of one request: screen, accept, run, filter, release, end.

Runs in a task of its own. A caller who leaves cancels what runs inside it, never the task itself, so that every
accepted request reaches its END (invariant 4). Nothing is emitted before it is durable (invariant 2).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import Any

from opentelemetry.trace import SpanKind

from chassis import genai
from chassis.failures import DeadlineExceeded, Internal, InvalidArgument, ServiceError, Unavailable
from chassis.tracing import keep_if_odd, span
from services.gateway.requests import fields
from services.gateway.requests.account import Account
from services.gateway.requests.answer import Answer
from services.gateway.requests.beside import texts_beside
from services.gateway.requests.closing import Closing
from services.gateway.requests.conversation import conversation_of
from services.gateway.requests.course import Course
from services.gateway.requests.endings import ANSWER_TOO_LARGE, end_of, error_of, key_taken
from services.gateway.requests.mailbox import Mailbox
from services.gateway.requests.neighbours import Job, KeyHeld, Party, RecordEnded
from services.gateway.requests.outcome import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    FLAG,
    REFUSE,
    REFUSED,
    Accepted,
    Broken,
    Delta,
    End,
    Ended,
    Event,
    Screening,
    Started,
)
from services.gateway.requests.restoring import hidden_in
from services.gateway.requests.side_by_side import side_by_side
from services.gateway.requests.terms import Neighbours, Terms

log = logging.getLogger(__name__)


class Life:
    """One request. `run` drives it, `next_event` or `all_events` is what its caller reads, `cancel` ends it early."""

    def __init__(self, terms: Terms, neighbours: Neighbours) -> None:
        self.terms = terms
        self.rejection: InvalidArgument | None = None  # bad input that only the guard could find
        self._guard, self._audit, self._queue = neighbours.guard, neighbours.audit, neighbours.queue
        sealed_with = terms.replayed.sealed_with if terms.replayed else ""
        self._party = Party(terms.caller, terms.question.subject, sealed_with)
        self._mailbox = Mailbox()
        self._talking: asyncio.Task[Any] | None = None  # once there is a conversation
        self._accepting: asyncio.Future[Accepted] | None = None
        self._over = False  # nothing can be cancelled any more
        self._leaving: End | None = None  # why the conversation was cancelled
        self._jobs: list[Job] = []  # one a choice
        self._course = Course(terms)

    async def next_event(self) -> Event:
        """The next event, in order; the last one is an Outcome or Broken."""
        return await self._mailbox.take()

    async def all_events(self) -> list[Event]:
        """For a caller who is sent nothing before the end: every event, once the last is there."""
        return await self._mailbox.take_all()

    def __enter__(self) -> Life:
        """For a caller, who is attached until he leaves."""
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def detach(self) -> None:
        """The last caller has left: ends the request unless it is over."""
        self._mailbox.detach()
        self.cancel(End(CANCELLED if time.time() * 1000 < self.terms.deadline_ms else EXPIRED))

    def cancel(self, why: End) -> bool:
        """Ends the request early; False when it was over already."""
        if self._leaving is not None or self._over:
            return False
        self._leaving = why
        if self._talking is not None:  # else it has not begun, and ends before it does
            self._talking.cancel()
        return True

    async def run(self) -> Account:
        """From screening to the END; never raises."""
        terms = self.terms
        with span(f"{genai.CHAT} {terms.model}", kind=SpanKind.CLIENT, attributes=terms.attributes) as current:
            end, error = await self._see_through()
            current.set_attributes(self._course.attributes(end, error))
            self._course.note_phases()
        account = self._course.account(end, error, accepted=self.accepted)
        keep_if_odd(failed=error is not None, seconds=account.first_release_seconds or 0.0)
        return account

    @property
    def accepted(self) -> bool:
        """There is a record of it."""
        accepting = self._accepting
        return accepting is not None and accepting.done() and not accepting.cancelled() and not accepting.exception()

    async def _see_through(self) -> tuple[End | None, ServiceError | None]:
        end, error = await self._outcome()
        if self._accepting is not None:
            end, error = await self._close(self._accepting, end, error)
        elif error is not None:
            self._mailbox.push(Broken(error))
        for job in self._jobs:
            self._queue.forget(job.job_id)
        return end, error

    async def _outcome(self) -> tuple[End | None, ServiceError | None]:
        """How the conversation ended: by itself, or with which error. No end: there is no record to close."""
        task = self._talking = asyncio.current_task()
        assert task is not None, "a life runs in a task of its own"
        try:
            async with asyncio.timeout_at(self.terms.deadline):
                if self._leaving is not None:
                    raise asyncio.CancelledError
                end = await self._converse()
                self._over = True
                return end, None
        except TimeoutError:
            return End(EXPIRED), DeadlineExceeded("the request's deadline passed", reason="DEADLINE_EXCEEDED")
        except asyncio.CancelledError:
            task.uncancel()
            end = self._leaving or End(FAILED, "GATEWAY_STOPPING")
            return end, error_of(end)
        except RecordEnded:
            return None, Unavailable("audit had lost this gateway and ended the record", reason="GATEWAY_LOST")
        except ServiceError as error:
            return end_of(error), error
        except Exception:
            log.exception("request %s failed", self.terms.request_id)
            return End(FAILED, "INTERNAL"), Internal("internal error")
        finally:
            self._over = True

    async def _converse(self) -> End | None:
        try:
            return await self._ask()
        except KeyHeld as held:
            self._accepting = None  # there is no record of this request
            await self._answer_again(held)
            return None

    async def _answer_again(self, held: KeyHeld) -> None:
        """Invariant 5: one answer a key. The same request hears the answer it was given; nothing is generated."""
        found = await self._audit.outcome(held.request_id, self._party) if held.same_request else None
        if found is None:
            raise key_taken(held.request_id, held.same_request)
        self._course.read_back = True
        self._mailbox.push(Started(found.outcome.request_id, found.outcome.model, found.outcome.trace_id))
        for delta in found.deltas:
            self._mailbox.push(delta)
        self._mailbox.push(found.outcome)

    async def _ask(self) -> End | None:
        question, beside = self.terms.question, texts_beside(self.terms.question.sampling)
        screening = self._course.screening = await self._guard.screen(
            self.terms.request_id,
            question.messages,
            self.terms.deadline,
            beside.texts,
            conversation_of(self.terms.caller, question),
        )
        self._course.reached("screen")
        if not self.terms.replayed:  # whose policy the log has had since the first time
            await self._audit.know_policy(screening.policy_digest)
        if screening.verdict == REFUSE:
            await self._refuse(screening)
            return None
        if screening.unmasked:
            self.rejection = beside.refusal(screening.unmasked)
            raise self.rejection
        self._jobs = [self._job(screening, choice) for choice in range(self.terms.sampling.choices)]
        hidden = hidden_in(question.messages, screening.findings)
        answer = Answer(self.terms, screening.policy_digest, self._guard, self._audit, self._mailbox, hidden)
        self._course.answer = answer
        accepted = await self._accept(screening)
        self._mailbox.push(Started(self.terms.request_id, self.terms.model, self.terms.trace_id))
        return await self._run_jobs(accepted, answer)

    async def _refuse(self, screening: Screening) -> None:
        """REFUSED is the whole record; its text is sent once that is durable."""
        terms = self.terms
        content = {
            **self._request_fields(),
            "findings": fields.findings(screening.findings),
            "answer_released": fields.answer([fields.Said(screening.refusal_text, REFUSED)]),
        }
        key = terms.question.idempotency_key
        receipt = await self._audit.refuse(
            terms.request_id, self._party, terms.model, terms.trace_id, screening.rule, key, content
        )
        self._course.reached("first_release")
        self._mailbox.push(Started(terms.request_id, terms.model, terms.trace_id))
        self._mailbox.push(Delta(screening.refusal_text))
        self._mailbox.push(self._course.outcome((Ended(REFUSED),), receipt))

    def _job(self, screening: Screening, choice: int) -> Job:
        terms = self.terms
        return self._queue.job(
            terms.request_id,
            screening.messages,
            terms.model,
            terms.sampling.of_choice(choice),
            terms.caller,
            terms.deadline_ms,
            terms.question.priority,
            terms.adapter,
            choice,
        )

    async def _accept(self, screening: Screening) -> Accepted:
        terms = self.terms
        content = {
            **self._request_fields(),
            "request_sent": fields.request(screening.messages, terms.model, terms.sampling, terms.adapter.name),
            "findings": fields.findings(screening.findings),
        }
        # Once it is on its way it may become durable, whatever happens to us: `_close` waits for it.
        self._accepting = self._audit.accept(
            terms.request_id,
            self._party,
            terms.model,
            terms.trace_id,
            terms.deadline_ms,
            [hashlib.sha256(job.body).digest() for job in self._jobs],
            terms.question.idempotency_key,
            content,
        )
        accepted = await asyncio.shield(self._accepting)
        self._course.reached("accept")
        return accepted

    async def _run_jobs(self, accepted: Accepted, answer: Answer) -> End:
        self._course.queued_ns = time.time_ns()
        submitting = [self._queue.submit(job, accepted, choice) for choice, job in enumerate(self._jobs)]
        end = await answer.relay(await side_by_side(submitting))
        verdict, rule = self._course.verdict(withheld=False)
        if end.state == COMPLETED and verdict == FLAG:
            end = End(COMPLETED, rule, end.finish_reason)
        return end

    async def _close(
        self, accepting: asyncio.Future[Accepted], end: End | None, error: ServiceError | None
    ) -> tuple[End | None, ServiceError | None]:
        """Writes the END of a request whose ACCEPTED was sent, then emits the last events. Returns how it did end."""
        if error is not None:
            self._mailbox.push(Broken(error))  # the caller need not wait for the END of what failed
        try:
            await accepting
        except ServiceError as refused:  # it never became a record
            if error is None:
                self._mailbox.push(Broken(refused))
            return end, error
        if error is not None:
            for job in self._jobs:
                await self._queue.cancel(job.job_id)
        if end is None:
            return end, error
        try:
            closing = Closing(self._audit, self.terms.request_id, self._course.answer, self._course.findings)
            receipt = await closing.end(end, whole=error is None)
        except (RecordEnded, ServiceError) as refused:
            return self._close_otherwise(end, error, refused)
        if error is None:
            self._mailbox.push(self._course.outcome(self._course.ended, receipt))
        return end, error

    def _close_otherwise(
        self, end: End, error: ServiceError | None, refused: RecordEnded | ServiceError
    ) -> tuple[End, ServiceError]:
        log.warning("audit did not take the END of request %s", self.terms.request_id)
        told: ServiceError = Unavailable("audit did not take the end of this request", reason="GATEWAY_LOST")
        if isinstance(refused, ServiceError) and refused.reason == ANSWER_TOO_LARGE:
            end, told = End(FAILED, ANSWER_TOO_LARGE), refused
        if error is None:
            self._mailbox.push(Broken(told))
        return end, error or told

    def _request_fields(self) -> dict[str, bytes]:
        terms, replayed = self.terms, self.terms.replayed
        return {
            # Of a replay no caller sent anything.
            **({} if replayed else {"request_received": fields.received(terms.question)}),
            "parameters": fields.circumstances(
                terms.sampling,
                terms.model,
                self._course.screening.policy_digest,
                terms.template_digest,
                terms.question.priority,
                terms.adapter,
                terms.engines,
                terms.quantization,
                replayed.record_id if replayed else "",
            ),
        }
