"""One request's answer as it grows: text, and whether it has ended."""

from __future__ import annotations

from collections.abc import Iterable

from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.protocol import Finish, Sampling
from services.inference.engine.stops import StopStrings


class Answer:
    """A pure function of the token ids accepted so far, so another worker restores it by replaying them."""

    def __init__(
        self, detokenizer: Detokenizer, sampling: Sampling, end_ids: frozenset[int], opening: str = ""
    ) -> None:
        """`opening` is what the prompt has begun of the answer: it leads the text, so that the text says it all."""
        self._detokenizer, self._opening = detokenizer, opening
        self._stops = StopStrings(sampling.stop)
        self._max_tokens = sampling.max_tokens
        self._end_ids = end_ids
        self.tokens: list[int] = []
        self.finish: Finish | None = None

    def accept(self, token_id: int) -> str:
        """Text that this token lets out. A character still incomplete at the end is dropped."""
        opening, self._opening = self._opening, ""
        return opening + self._next(token_id)

    def _next(self, token_id: int) -> str:
        self.tokens.append(token_id)
        if token_id in self._end_ids:
            self.finish = Finish.STOP
            return self._stops.flush()
        text = self._stops.feed(self._detokenizer.feed(token_id))
        if self._stops.hit:
            self.finish = Finish.STOP
        elif len(self.tokens) >= self._max_tokens:
            self.finish = Finish.LENGTH
            text += self._stops.flush()
        return text

    def replay(self, emitted: Iterable[int]) -> None:
        """Go on after tokens whose text has already been published."""
        for token_id in emitted:
            if self.finish is None:
                self.accept(token_id)
