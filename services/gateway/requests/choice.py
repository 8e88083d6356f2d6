"""One of the answers to a prompt: what its worker makes of it, taken apart, filtered, and held until it may leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from services.gateway.requests.channel import CONTENT, REASONING, Channel
from services.gateway.requests.logprobs import Logprobs
from services.gateway.requests.outcome import WITHHELD, Delta, Filtered, Finding, Step
from services.gateway.requests.reasoning import Parts, Split
from services.gateway.requests.restoring import Hidden

RESTORED = "token"  # the rule of a place where a token was put back
Filter = Callable[[int, Channel, bool], Awaitable[Filtered]]  # of which choice; the bool: the text is over


class Choice:
    """Its reasoning and its content have each a filter of their own, as every other choice's have."""

    def __init__(self, index: int, filtering: Filter, hidden: Mapping[str, Hidden]) -> None:
        """`hidden`: what the prompt's tokens stand for."""
        self.index, self._filtering = index, filtering
        self._split = Split()
        self._reasoning, self._content = Channel.named(REASONING, hidden), Channel.named(CONTENT, hidden)
        self._logprobs = Logprobs()
        self.findings: tuple[Finding, ...] = ()
        self.rule = ""  # of a flag or of what withheld the rest
        self.usage = (0, 0)  # tokens in, tokens out
        self.admitted_ns = 0  # wall clock
        self._told = 0  # places restored, up to which a release told them
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
    def restored(self) -> int:
        """How many tokens were put back."""
        return len(self._reasoning.restoring.places) + len(self._content.restoring.places)

    @property
    def restored_bytes(self) -> int:
        """That the released text has for them."""
        return self._reasoning.restoring.put_bytes + self._content.restoring.put_bytes

    def places_restored(self) -> tuple[Finding, ...]:
        """Where the released text holds again what tokens stood for."""
        sides = (("reasoning_released", self._reasoning), ("answer_released", self._content))
        return tuple(
            Finding(one.hidden.type, one.start, one.end, one.hidden.level, side, rule=RESTORED, choice=self.index)
            for side, channel in sides
            for one in channel.restoring.places
        )

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
            filtered = await self._filtering(self.index, channel, over)
            self.findings += filtered.findings
            self.rule = filtered.rule or self.rule
            withheld = filtered.withheld
            channel.clear(filtered.text, over or withheld)
        self.finish = WITHHELD if withheld else finish

    def take(self) -> Delta:
        """What was cleared: from now on it counts as released."""
        reasoning, text = self._reasoning.release(), self._content.release()
        restored = self.places_restored()
        fresh, self._told = restored[self._told :], len(restored)  # the reasoning's all come before the content's
        return Delta(text, reasoning, self._logprobs.take(self._content), self.index, fresh)

    def _gather(self, parts: Parts) -> None:
        self._reasoning.waiting += parts.reasoning
        self._content.waiting += parts.content
