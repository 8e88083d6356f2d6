"""One of the answers to a prompt: what its worker makes of it, taken apart, filtered, and held until it may leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.gateway.requests.channel import CONTENT, REASONING, Channel
from services.gateway.requests.logprobs import Logprobs
from services.gateway.requests.outcome import WITHHELD, Delta, Filtered, Finding, Step
from services.gateway.requests.reasoning import Parts, Split

Filter = Callable[["Choice", Channel, bool], Awaitable[Filtered]]  # the bool: the text is over


class Choice:
    """Its reasoning and its content have each a filter of their own, as every other choice's have."""

    def __init__(self, index: int, filtering: Filter) -> None:
        self.index, self._filtering = index, filtering
        self._split = Split()
        self._reasoning, self._content = Channel(REASONING), Channel(CONTENT)
        self._logprobs = Logprobs()
        self.findings: tuple[Finding, ...] = ()
        self.rule = ""  # of a flag or of what withheld the rest
        self.usage = (0, 0)  # tokens in, tokens out
        self.admitted_ns = 0  # wall clock
        self.finish = ""  # STOP, LENGTH or WITHHELD, once all of it has been filtered

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

    @property
    def withheld(self) -> bool:
        return self.finish == WITHHELD

    @property
    def waiting(self) -> int:
        """Characters that no filter has seen."""
        return len(self._reasoning.waiting) + len(self._content.waiting)

    @property
    def cleared(self) -> bool:
        """There is text that may leave."""
        return bool(self._content.cleared or self._reasoning.cleared)

    def note(self, step: Step) -> None:
        self._gather(self._split.feed(step.text))
        self._logprobs.note(step.text, step.logprobs)
        self.admitted_ns = self.admitted_ns or step.admitted_ns
        self.usage = (step.input_tokens or self.usage[0], step.output_tokens or self.usage[1])
        if step.finish:
            self._gather(self._split.finish())

    async def clear(self, finish: str) -> None:
        """Filters what waits; with a `finish` there is no more. A filter that cuts the answer ends it."""
        last, withheld = bool(finish), False
        for channel, over in ((self._reasoning, last or self._split.reasoned), (self._content, last)):
            if withheld or not channel.due(over):
                continue
            filtered = await self._filtering(self, channel, over)
            self.findings += filtered.findings
            self.rule = filtered.rule or self.rule
            withheld = filtered.withheld
            channel.cleared += filtered.text
        self.finish = WITHHELD if withheld else finish

    def take(self) -> Delta:
        """What was cleared: from now on it counts as released."""
        reasoning, text = self._reasoning.release(), self._content.release()
        return Delta(text, reasoning, self._logprobs.take(self._content), self.index)

    def _gather(self, parts: Parts) -> None:
        self._reasoning.waiting += parts.reasoning
        self._content.waiting += parts.content
