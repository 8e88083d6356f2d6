"""The answer of one request on its way out, all its choices: filtered, made durable, then sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext

from chassis import genai
from chassis.tracing import span, untraced
from services.gateway.requests import fields
from services.gateway.requests.channel import Channel
from services.gateway.requests.choice import Choice
from services.gateway.requests.endings import engine_error
from services.gateway.requests.mailbox import Mailbox
from services.gateway.requests.neighbours import Audit, FilterLost, Guard, Steps
from services.gateway.requests.outcome import COMPLETED, WITHHELD, Delta, End, Filtered, Finding
from services.gateway.requests.side_by_side import side_by_side
from services.gateway.requests.terms import Terms

log = logging.getLogger(__name__)

WHOLE_FILTERED_CHARACTERS = 256  # of an answer that nobody reads on the way, at a time
TRACED_PIECES = 16  # of one request; what comes between them and its end leaves no spans


class Answer:
    """What was generated, what of it was released, and the rule that nothing is sent before it is durable. Its choices
    run side by side; what they release is numbered over all of them."""

    def __init__(self, terms: Terms, policy_digest: bytes, guard: Guard, audit: Audit, mailbox: Mailbox) -> None:
        """One that is not `streamed` is released once, whole: of one that fails on the way its caller gets nothing."""
        self._terms, self._policy = terms, policy_digest
        self._guard, self._audit, self._mailbox = guard, audit, mailbox
        self.choices = [Choice(index, self._filter) for index in range(terms.sampling.choices)]
        self.first_release: float | None = None  # monotonic clock
        self.releases = 0
        self._pieces = 0  # that were filtered, of all choices
        self._parting: tuple[list[Delta], asyncio.Future[None]] | None = None  # the last release, on its way

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for choice in self.choices for finding in choice.findings)

    @property
    def rule(self) -> str:
        """Of what withheld a choice; else of the first flag."""
        rules = [choice.rule for choice in self.choices if choice.withheld]
        return next(iter(rules), "") or next((choice.rule for choice in self.choices if choice.rule), "")

    @property
    def usage(self) -> tuple[int, int]:
        """Tokens in and out; the prompt is the same for all."""
        return max(choice.usage[0] for choice in self.choices), sum(choice.usage[1] for choice in self.choices)

    @property
    def admitted_ns(self) -> int:
        """By the wall clock, of the first that was; 0 while none is."""
        return min((choice.admitted_ns for choice in self.choices if choice.admitted_ns), default=0)

    @property
    def released_bytes(self) -> int:
        return sum(len("".join(choice.released).encode()) for choice in self.choices)

    async def relay(self, steps: Sequence[Steps]) -> End:
        """From the first step to the end of the last choice; its last text still waits for `part`. Raises what a worker
        failed with: one choice that fails ends all."""
        await side_by_side([self._follow(choice, own) for choice, own in zip(self.choices, steps, strict=True)])
        if any(choice.withheld for choice in self.choices):
            return End(WITHHELD, self.rule, WITHHELD)
        return End(COMPLETED, finish_reason=self.choices[0].finish)

    async def _follow(self, choice: Choice, steps: Steps) -> None:
        while not choice.finish:
            finish = ""
            for step in await steps.take():
                choice.note(step)
                finish = step.finish or finish
                if finish in ("FAILED", "CANCELLED", "EXPIRED"):
                    raise engine_error(finish, step.failure, choice.usage[0], self._terms.prompt_bound)
            if finish or self._worth_filtering(choice):
                with nullcontext() if finish or self._pieces < TRACED_PIECES else untraced():
                    self._pieces += 1
                    await choice.clear(finish)
                    await self._let_out(choice)
        if choice.withheld:
            await steps.stop()

    def _worth_filtering(self, choice: Choice) -> bool:
        return self._terms.streamed or self.first_release is None or choice.waiting >= WHOLE_FILTERED_CHARACTERS

    async def _let_out(self, choice: Choice) -> None:
        """Makes what may leave durable, then emits it. The very last waits for the END."""
        over = all(one.finish for one in self.choices)
        if self._terms.streamed or over:
            leaving = [choice] if self._terms.streamed else self.choices
            deltas = [one.take() for one in leaving if one.cleared]
            if deltas:
                await self._make_durable(deltas, over)
        elif choice.cleared:
            self.first_release = self.first_release or time.monotonic()  # it could leave now

    async def _make_durable(self, deltas: list[Delta], last: bool) -> None:
        # Counted before the entry is sent: from then on it may become durable, whatever happens to us.
        n, self.releases = self.releases, self.releases + 1
        durable = self._audit.release(self._terms.request_id, n, fields.release(deltas))
        if last:
            self._parting = deltas, durable
            return
        with span("release", attributes={genai.RELEASE_N: n}):
            await durable
        await self._emit(deltas)

    async def part(self) -> None:
        """Emits the last text once it is durable: its RELEASE and the END travel together. Raises what audit says."""
        if self._parting is not None:
            deltas, durable = self._parting
            await durable
            await self._emit(deltas)

    async def _emit(self, deltas: Sequence[Delta]) -> None:
        self.first_release = self.first_release or time.monotonic()
        for delta in deltas:
            await self._mailbox.put(delta)

    async def _filter(self, choice: Choice, channel: Channel, last: bool) -> Filtered:
        text, n = channel.take(), channel.pieces
        channel.pieces, channel.closed = n + 1, last
        piece = (self._terms.request_id, self._policy, n)
        place = (channel.name, choice.index)
        try:
            return await self._guard.filter(*piece, text, last, self._terms.deadline, None, *place)
        except FilterLost:
            log.info("the filter of request %s was lost; feeding it again", self._terms.request_id)
            return await self._guard.filter(
                *piece, channel.filtered, last, self._terms.deadline, channel.passed, *place
            )
