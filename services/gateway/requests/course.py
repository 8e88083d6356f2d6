"""What has become of a request so far, as it is told: to its caller, in its span, to whoever counts."""

from __future__ import annotations

import time

from chassis import genai
from chassis.failures import ServiceError
from chassis.tracing import Attributes, here
from services.gateway.requests.account import NOT_ACCEPTED, Account
from services.gateway.requests.answer import Answer
from services.gateway.requests.outcome import (
    ALLOW,
    FAILED,
    FLAG,
    READ_BACK,
    REFUSE,
    REFUSED,
    WITHHELD,
    End,
    Ended,
    Finding,
    Outcome,
    Screening,
    stricter,
)
from services.gateway.requests.terms import Terms


class Course:
    """One request's; its life sets what it comes to, in order."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.screening = Screening(ALLOW, b"")
        self.answer: Answer | None = None
        self.read_back = False  # the answer is an earlier one
        self.queued_ns = 0  # wall clock
        self._began, self._began_ns = time.monotonic(), time.time_ns()
        self._timings: dict[str, float] = {}

    def reached(self, phase: str) -> None:
        """A phase's end is now."""
        self._timings[phase] = (time.monotonic() - self._began) * 1000

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.screening.findings + (self.answer.findings if self.answer else ())

    @property
    def ended(self) -> tuple[Ended, ...]:
        """How each choice did."""
        choices = self.answer.choices if self.answer else ()
        return tuple(Ended(choice.finish, choice.reasoning_unfinished) for choice in choices)

    def verdict(self, *, withheld: bool) -> tuple[str, str]:
        """On prompt and answer together, and the rule that it is for."""
        verdict, rule, answer = self.screening.verdict, self.screening.rule, self.answer
        if answer and answer.rule:
            return stricter(verdict, REFUSE if withheld else FLAG), answer.rule
        return verdict, rule

    def outcome(self, choices: tuple[Ended, ...], receipt: str) -> Outcome:
        verdict, rule = self.verdict(withheld=any(choice.finish_reason == WITHHELD for choice in choices))
        answer = self.answer
        if answer and answer.first_release:
            self._timings["first_release"] = (answer.first_release - self._began) * 1000
        if answer and answer.admitted_ns:
            self._timings["queue"] = max(0.0, (answer.admitted_ns - self.queued_ns) / 1e6)
        self.reached("total")
        return Outcome(
            request_id=self._terms.request_id,
            model=self._terms.model,
            trace_id=self._terms.trace_id,
            choices=choices,
            receipt=receipt,
            verdict=verdict,
            rule=rule,
            policy_digest=self.screening.policy_digest,
            findings=self.findings,
            input_tokens=self._usage[0],
            output_tokens=self._usage[1],
            timings_ms=dict(self._timings),
        )

    def attributes(self, end: End | None, error: ServiceError | None) -> Attributes:
        told: dict[str, str | int] = {
            genai.END: end.state if end else READ_BACK if self.read_back else REFUSED,
            genai.INPUT_TOKENS: self._usage[0],
            genai.OUTPUT_TOKENS: self._usage[1],
        }
        return told if error is None else {**told, genai.ERROR_TYPE: error.reason}

    def note_phases(self) -> None:
        """Of a request that was not chosen the neighbours tell nothing: what we waited for has to do."""
        place = here()
        if place is None or place.trace.sampled:
            return
        since = 0.0
        for phase in ("screen", "accept", "first_release"):
            if until := self._timings.get(phase):
                place.note(phase, self._began_ns + int(since * 1e6), self._began_ns + int(until * 1e6))
                since = until

    def account(self, end: End | None, error: ServiceError | None, *, accepted: bool) -> Account:
        answer = self.answer
        state = end.state if end and accepted else NOT_ACCEPTED
        if end is None:  # REFUSED is a record of its own; else audit has ended this one
            state = FAILED if error else READ_BACK if self.read_back else REFUSED
        verdict, rule = self.verdict(withheld=state == WITHHELD)
        first = self._timings.get("first_release")
        if answer and answer.first_release:
            first = (answer.first_release - self._began) * 1000
        return Account(
            model=self._terms.model,
            priority=self._terms.question.priority,
            end=state,
            error=error.reason if error else "",
            verdict=verdict if self.screening.policy_digest else "",
            rule=rule,
            releases=answer.releases if answer else 0,
            released_bytes=answer.released_bytes if answer else 0,
            input_tokens=self._usage[0],
            output_tokens=self._usage[1],
            seconds=time.monotonic() - self._began,
            first_release_seconds=None if first is None else first / 1000,
        )

    @property
    def _usage(self) -> tuple[int, int]:
        return self.answer.usage if self.answer else (0, 0)
