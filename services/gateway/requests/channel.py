"""One text of an answer on its way out: its content, or the reasoning before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.gateway.requests.restoring import Hidden, Restoring

CONTENT, REASONING = "content", "reasoning"  # as RELEASE entries name them
TOOL_ARGUMENTS = "tool_arguments"  # JSON; no engine asks for tools yet


@dataclass(slots=True)
class Channel:
    """Each has an output filter of its own, which is opened with its first piece and closed with its last."""

    name: str
    restoring: Restoring
    waiting: str = ""  # generated, not filtered yet
    filtered: str = ""  # generated and fed to the filter
    passed: int = 0  # characters that the filter let pass
    cleared: str = ""  # of these, with what tokens stand for put back, what is not released yet
    released: str = ""  # authorised for release: in the journal, or on its way there
    pieces: int = 0
    closed: bool = False

    @property
    def generated(self) -> str:
        return self.filtered + self.waiting

    def due(self, over: bool) -> bool:
        """The filter has something to do: text, or, where the text is `over`, what it holds back."""
        return bool(self.waiting) or (over and self.pieces > 0 and not self.closed)

    @classmethod
    def named(cls, name: str, hidden: Mapping[str, Hidden]) -> Channel:
        return cls(name, Restoring(hidden, in_json=name == TOOL_ARGUMENTS))

    def clear(self, text: str, over: bool) -> None:
        """What the filter let pass; with `over` nothing follows."""
        self.passed += len(text)
        self.cleared += self.restoring.feed(text, over)

    def release(self) -> str:
        """What was cleared: from now on it counts as released."""
        text, self.cleared = self.cleared, ""
        self.released += text
        return text

    def take(self) -> str:
        """What waits, for the filter."""
        text, self.waiting = self.waiting, ""
        self.filtered += text
        return text
