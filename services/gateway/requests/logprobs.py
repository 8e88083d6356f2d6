"""Log-probabilities on their way out: told behind their text, and never of a text that the filter changed."""

from __future__ import annotations

from collections import deque

from services.gateway.requests.channel import Channel
from services.gateway.requests.outcome import TokenLogprob


class Logprobs:
    """Holds back what the guard has not let out. From the first character on that it changed nothing more is told: a
    token, or one in its place, could say what was masked. What is told depends on the two texts alone, and not on how
    they were cut into pieces."""

    def __init__(self) -> None:
        self._waiting: deque[TokenLogprob] = deque()
        self._fed = 0  # characters of the model's text, marks and reasoning included
        self._told = 0  # of these, up to which tokens were looked at
        self._even = 0  # characters of content that were released as they were generated
        self._apart = False

    def note(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        self._fed += len(text)
        self._waiting += logprobs

    def take(self, content: Channel) -> tuple[TokenLogprob, ...]:
        """Of the tokens whose whole text is out. Those of the reasoning before it are left out."""
        if not self._waiting or not content.released:
            return ()
        self._compare(content.released, content.filtered)
        start = self._fed - len(content.generated)  # the content is the end of the model's text
        taken: list[TokenLogprob] = []
        while self._waiting and self._waiting[0].end <= start + self._even:
            one = self._waiting.popleft()
            if self._told >= start:
                taken.append(one)
            self._told = one.end
        return tuple(taken)

    def _compare(self, released: str, generated: str) -> None:
        while not self._apart and self._even < len(released):
            if released[self._even] != generated[self._even : self._even + 1]:
                self._apart = True
            else:
                self._even += 1
