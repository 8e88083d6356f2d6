"""One text of an answer on its way out: its content, or the reasoning before it."""

from __future__ import annotations

from dataclasses import dataclass

CONTENT, REASONING = "content", "reasoning"  # as RELEASE entries name them


@dataclass(slots=True)
class Channel:
    """Each has an output filter of its own, which is opened with its first piece and closed with its last."""

    name: str
    waiting: str = ""  # generated, not filtered yet
    filtered: str = ""  # generated and fed to the filter
    cleared: str = ""  # what the filter let pass, not released yet
    released: str = ""  # authorised for release: in the journal, or on its way there
    pieces: int = 0
    closed: bool = False

    @property
    def generated(self) -> str:
        return self.filtered + self.waiting

    def due(self, over: bool) -> bool:
        """The filter has something to do: text, or, where the text is `over`, what it holds back."""
        return bool(self.waiting) or (over and self.pieces > 0 and not self.closed)

    @property
    def passed(self) -> int:
        """Characters that the filter let pass."""
        return len(self.released) + len(self.cleared)

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
