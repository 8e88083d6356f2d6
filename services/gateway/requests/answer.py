"""The answer of one request on its way out: gathered from the workers, filtered, made durable, then sent."""

from __future__ import annotations

import asyncio
import logging
import time

from chassis import genai
from chassis.tracing import span
from services.gateway.requests import fields
from services.gateway.requests.channel import CONTENT, REASONING, Channel
from services.gateway.requests.endings import engine_error
from services.gateway.requests.logprobs import Logprobs
from services.gateway.requests.mailbox import Mailbox
from services.gateway.requests.neighbours import Audit, FilterLost, Guard, Steps
from services.gateway.requests.outcome import COMPLETED, WITHHELD, Delta, End, Filtered, Finding, Step
from services.gateway.requests.reasoning import Parts, Split

log = logging.getLogger(__name__)

WHOLE_FILTERED_CHARACTERS = 256  # of an answer that nobody reads on the way, at a time


class Answer:
    """What was generated, what of it was released, and the rule that nothing is sent before it is durable."""

    def __init__(
        self,
        request_id: str,
        policy_digest: bytes,
        deadline: float,
        prompt_bound: int,
        streamed: bool,
        guard: Guard,
        audit: Audit,
        mailbox: Mailbox,
    ) -> None:
        """`prompt_bound`: tokens that a prompt may have, for whoever has to say that it had more. An answer that is
        not `streamed` is released once, whole: of one that fails on the way its caller gets nothing."""
        self._prompt_bound, self._streamed = prompt_bound, streamed
        self._request_id, self._policy, self._deadline = request_id, policy_digest, deadline
        self._guard, self._audit, self._mailbox = guard, audit, mailbox
        self._split = Split()
        self._reasoning, self._content = Channel(REASONING), Channel(CONTENT)
        self._logprobs = Logprobs()
        self.findings: tuple[Finding, ...] = ()
        self.rule = ""  # of a flag or of what withheld the rest
        self.usage = (0, 0)  # tokens in, tokens out
        self.admitted_ns = 0  # wall clock
        self.first_release: float | None = None  # monotonic clock
        self.releases = 0
        self._parting: tuple[Delta, asyncio.Future[None]] | None = None  # the last release, on its way

    @property
    def generated(self) -> Parts:
        held = self._split.held
        return Parts(self._reasoning.generated + held.reasoning, self._content.generated + held.content)

    @property
    def released(self) -> Parts:
        """Authorised for release: in the journal, or on its way there."""
        return Parts(self._reasoning.released, self._content.released)

    @property
    def reasoning_unfinished(self) -> bool:
        return self._split.unfinished

    async def relay(self, steps: Steps) -> End:
        """From the first step to the end of the answer; its last text still waits for `part`. Raises what the worker
        failed with."""
        finish = ""
        while not finish:
            for step in await steps.take():
                self._note(step)
                finish = step.finish or finish
                if finish:
                    self._gather(self._split.finish())
                if finish in ("FAILED", "CANCELLED", "EXPIRED"):
                    raise engine_error(finish, step.failure, self.usage[0], self._prompt_bound)
            if not (finish or self._worth_filtering):
                continue
            if await self._release(last=bool(finish)):
                return End(WITHHELD, self.rule, "WITHHELD")
        return End(COMPLETED, finish_reason=finish)

    @property
    def _worth_filtering(self) -> bool:
        if self._streamed or self.first_release is None:
            return True
        return len(self._reasoning.waiting) + len(self._content.waiting) >= WHOLE_FILTERED_CHARACTERS

    def _note(self, step: Step) -> None:
        self._gather(self._split.feed(step.text))
        self._logprobs.note(step.text, step.logprobs)
        self.admitted_ns = self.admitted_ns or step.admitted_ns
        self.usage = (step.input_tokens or self.usage[0], step.output_tokens or self.usage[1])

    def _gather(self, parts: Parts) -> None:
        self._reasoning.waiting += parts.reasoning
        self._content.waiting += parts.content

    async def _release(self, last: bool) -> bool:
        """Filters what waits, makes what may leave durable, then emits it. True when a filter cut the answer."""
        withheld = False
        for channel, over in ((self._reasoning, last or self._split.reasoned), (self._content, last)):
            if withheld or not channel.due(over):
                continue
            filtered = await self._filter(channel, over)
            self.findings += filtered.findings
            self.rule = filtered.rule or self.rule
            withheld = filtered.withheld
            channel.cleared += filtered.text
        last = last or withheld
        if self._content.cleared or self._reasoning.cleared:
            if self._streamed or last:
                await self._make_durable(last)
            else:
                self.first_release = self.first_release or time.monotonic()  # it could leave now
        return withheld

    async def _make_durable(self, last: bool) -> None:
        # Counted before the entry is sent: from then on it may become durable, whatever happens to us.
        cleared = {channel.name: channel.release() for channel in (self._reasoning, self._content)}
        texts = {name: text for name, text in cleared.items() if text}
        n, self.releases = self.releases, self.releases + 1
        logprobs = self._logprobs.take(self._content)
        durable = self._audit.release(self._request_id, n, fields.release(texts, logprobs))
        delta = Delta(texts.get(CONTENT, ""), texts.get(REASONING, ""), logprobs)
        if last:
            self._parting = delta, durable
            return
        with span("release", attributes={genai.RELEASE_N: n}):
            await durable
        await self._emit(delta)

    async def part(self) -> None:
        """Emits the last text once it is durable: its RELEASE and the END travel together. Raises what audit says."""
        if self._parting is not None:
            delta, durable = self._parting
            await durable
            await self._emit(delta)

    async def _emit(self, delta: Delta) -> None:
        self.first_release = self.first_release or time.monotonic()
        await self._mailbox.put(delta)

    async def _filter(self, channel: Channel, last: bool) -> Filtered:
        text, n = channel.take(), channel.pieces
        channel.pieces, channel.closed = n + 1, last
        piece = (self._request_id, self._policy, n)
        try:
            return await self._guard.filter(*piece, text, last, self._deadline, channel=channel.name)
        except FilterLost:
            log.info("the filter of request %s was lost; feeding it again", self._request_id)
            return await self._guard.filter(
                *piece, channel.filtered, last, self._deadline, channel.passed, channel.name
            )
