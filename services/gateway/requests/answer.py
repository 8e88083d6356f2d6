"""The answer of one request on its way out: gathered from the workers, filtered, made durable, then sent."""

from __future__ import annotations

import logging
import time

from chassis import genai
from chassis.tracing import span
from services.gateway.requests import fields
from services.gateway.requests.cadence import Cadence
from services.gateway.requests.endings import engine_error
from services.gateway.requests.mailbox import Mailbox
from services.gateway.requests.neighbours import Audit, FilterLost, Guard, Steps
from services.gateway.requests.outcome import COMPLETED, WITHHELD, Delta, End, Filtered, Finding, Step

log = logging.getLogger(__name__)


class Answer:
    """What was generated, what of it was released, and the rule that nothing is sent before it is durable."""

    def __init__(
        self,
        request_id: str,
        policy_digest: bytes,
        deadline: float,
        prompt_bound: int,
        guard: Guard,
        audit: Audit,
        mailbox: Mailbox,
    ) -> None:
        """`prompt_bound`: tokens that a prompt may have, for whoever has to say that it had more."""
        self._prompt_bound = prompt_bound
        self._request_id, self._policy, self._deadline = request_id, policy_digest, deadline
        self._guard, self._audit, self._mailbox = guard, audit, mailbox
        self._waiting = ""  # generated, not filtered yet
        self._filtered = ""  # generated and fed to the filter
        self.released = ""  # authorised for release: in the journal, or on its way there
        self.findings: tuple[Finding, ...] = ()
        self.rule = ""  # of a flag or of what withheld the rest
        self.usage = (0, 0)  # tokens in, tokens out
        self.admitted_ns = 0  # wall clock
        self.first_release: float | None = None  # monotonic clock
        self.releases = 0
        self._pieces = 0

    @property
    def generated(self) -> str:
        return self._filtered + self._waiting

    async def relay(self, steps: Steps) -> End:
        """From the first step to the end of the answer. Raises what the worker failed with."""
        cadence, finish = Cadence(), ""
        while True:
            for step in await steps.take(cadence.due_in(time.monotonic()) if self._waiting else None):
                self._note(step)
                cadence.gather(step.tokens)
                finish = step.finish or finish
                if finish in ("FAILED", "CANCELLED", "EXPIRED"):
                    raise engine_error(finish, step.failure, self.usage[0], self._prompt_bound)
            if not finish and (not self._waiting or cadence.due_in(time.monotonic()) > 0):
                continue
            if await self._release(last=bool(finish)):
                return End(WITHHELD, self.rule, "WITHHELD")
            if finish:
                return End(COMPLETED, finish_reason=finish)
            cadence.released(time.monotonic())

    def _note(self, step: Step) -> None:
        self._waiting += step.text
        self.admitted_ns = self.admitted_ns or step.admitted_ns
        self.usage = (step.input_tokens or self.usage[0], step.output_tokens or self.usage[1])

    async def _release(self, last: bool) -> bool:
        """Filters what waits, makes what may leave durable, then emits it. True when the filter cut the answer."""
        text, self._waiting = self._waiting, ""
        self._filtered += text
        filtered = await self._ask_filter(text, last)
        self._pieces += 1
        self.findings += filtered.findings
        self.rule = filtered.rule or self.rule
        if filtered.text:
            with span("release", attributes={genai.RELEASE_N: self.releases}):
                # Counted before the entry is sent: from then on it may become durable, whatever happens to us.
                self.released += filtered.text
                n, self.releases = self.releases, self.releases + 1
                await self._audit.release(self._request_id, n, fields.release(filtered.text))
            self.first_release = self.first_release or time.monotonic()
            await self._mailbox.put(Delta(filtered.text))
        return filtered.withheld

    async def _ask_filter(self, text: str, last: bool) -> Filtered:
        try:
            return await self._guard.filter(self._request_id, self._policy, self._pieces, text, last, self._deadline)
        except FilterLost:
            log.info("the filter of request %s was lost; feeding it again", self._request_id)
            return await self._guard.filter(
                self._request_id, self._policy, self._pieces, self._filtered, last, self._deadline, len(self.released)
            )
