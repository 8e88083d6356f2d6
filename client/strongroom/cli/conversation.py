"""A conversation as the messages that the next question carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from strongroom.client import Answer, Message, Question


@dataclass
class Conversation:
    """Turns that were answered. One that policy refused is not kept: it would have every later question refused."""

    system: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    turns: list[Message] = field(default_factory=list)

    def question(self, text: str) -> Question:
        """What is asked when `text` is said next."""
        system = (Message("system", self.system),) if self.system else ()
        return Question(messages=(*system, *self.turns, Message("user", text)), **self.options)

    def answered(self, text: str, answer: Answer) -> bool:
        """Keeps the turn, if it can be built on."""
        return answer.finish_reason != "REFUSED" and self.said(text, answer.text)

    def said(self, text: str, words: str) -> bool:
        """Keeps a turn as far as its answer came; one without a word of answer is none."""
        if not words.strip():
            return False
        self.turns += [Message("user", text), Message("assistant", words)]
        return True

    def begin_anew(self) -> None:
        """The system message stays."""
        self.turns.clear()
