"""One request's answer as it grows: the next token, the text, and whether it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.inference.engine import choosing
from services.inference.engine.choosing import Row
from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.protocol import Failure, Finish, StepOutput, Timing, TokenLogprob
from services.inference.engine.sampling import Sampling
from services.inference.engine.shaping import Shaping
from services.inference.engine.stops import StopStrings

_LEAST = -9999.0  # no JSON has minus infinity; OpenAI's value for what is hardly possible


class Answer:
    """A pure function of the token ids accepted so far, so another worker restores it by replaying them."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        sampling: Sampling,
        end_ids: frozenset[int],
        opening: str = "",
        shaping: Shaping | None = None,
    ) -> None:
        """`opening` is what the prompt has begun of the answer: it leads the text, so that the text says it all.
        Without `shaping` tokens are chosen from the logits as they are."""
        self._detokenizer, self._opening = detokenizer, opening
        self.sampling, self._shaping = sampling, shaping
        self._stops = StopStrings(sampling.stop)
        self._end_ids = end_ids | set(sampling.stop_ids)
        self._decoded = len(opening)  # characters, those held back included
        self._chosen: TokenLogprob | None = None
        self._logprobs: list[TokenLogprob] = []
        self.tokens: list[int] = []
        self.finish: Finish | None = None

    @property
    def plain(self) -> bool:
        """The next token may be chosen elsewhere, from the logits as they are."""
        return self._shaping is None and self.sampling.logprobs is None

    @property
    def failure(self) -> Failure:
        """Why there was no token to choose."""
        return Failure.GRAMMAR_TOO_COMPLEX if self._shaping and self._shaping.lost else Failure.NOT_FINITE

    def choose(self, row: Row) -> int | None:
        """The next token, from one row of fp32 logits; None where it is not finite. May be asked again."""
        shaped = self._shaping.apply(row) if self._shaping else row
        token = choosing.choose(shaped, self.sampling, len(self.tokens))
        if token is not None and self.sampling.logprobs is not None:
            self._chosen = self._logprob(row, token, self.sampling.logprobs)
        return token

    def note_logprob(self, token: int, logprobs: Mapping[int, float]) -> None:
        """For an engine that chooses elsewhere: of the token that is accepted next, its own and its most likely ones'
        log-probabilities."""
        count, spell = self.sampling.logprobs or 0, self._detokenizer.token_bytes
        ranked = sorted(logprobs.items(), key=lambda one: (-one[1], one[0]))[:count]
        top = tuple((spell(one), max(logprob, _LEAST)) for one, logprob in ranked)
        self._chosen = TokenLogprob(spell(token), max(logprobs[token], _LEAST), top, 0)

    def accept(self, token_id: int) -> str:
        """Text that this token lets out. A character still incomplete at the end is dropped."""
        opening, self._opening = self._opening, ""
        return opening + self._next(token_id)

    def _next(self, token_id: int) -> str:
        self.tokens.append(token_id)
        if token_id in self._end_ids:
            self.finish = Finish.STOP
            return self._stops.flush()
        if self._shaping:
            self._shaping.accept(token_id)
        decoded = self._detokenizer.feed(token_id)
        self._note(decoded)
        text = self._stops.feed(decoded)
        if self._stops.hit:
            self.finish = Finish.STOP
        elif self._shaping and self._shaping.complete:
            self.finish = Finish.STOP
            text += self._stops.flush()
        elif len(self.tokens) >= self.sampling.max_tokens:
            self.finish = Finish.LENGTH
            text += self._stops.flush()
        return text

    def cut(self, finish: Finish) -> str:
        """Ends it where it stands; the text that was still held back."""
        self.finish = finish
        return self._stops.flush()

    def replay(self, emitted: Iterable[int]) -> None:
        """Go on after tokens whose text has already been published."""
        for token_id in emitted:
            if self.finish is None:
                self.accept(token_id)

    def take_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Those of the tokens accepted since the last call. One that ends the answer has none: it is no text."""
        taken, self._logprobs = tuple(self._logprobs), []
        return taken

    def output(
        self,
        request_id: str,
        token_ids: tuple[int, ...],
        text: str,
        failure: Failure | None,
        *,
        prompt: Sequence[int],
        timing: Timing,
    ) -> StepOutput:
        """What a step added, with all that the answer knows of it."""
        return StepOutput(
            request_id=request_id,
            token_ids=token_ids,
            text=text,
            finish=None if failure else self.finish,
            input_tokens=len(prompt),
            prompt=prompt,
            output_tokens=len(self.tokens),
            timing=timing,
            failure=failure,
            logprobs=self.take_logprobs(),
        )

    def _note(self, decoded: str) -> None:
        self._decoded += len(decoded)
        if self._chosen is not None:
            # A token that ends within a character is told when the whole character is.
            end = self._decoded + self._detokenizer.incomplete
            chosen = self._chosen
            self._logprobs.append(TokenLogprob(chosen.token, chosen.logprob, chosen.top, end))
            self._chosen = None

    def _logprob(self, row: Row, token: int, count: int) -> TokenLogprob:
        """Of the model's own distribution, before penalties, bias, grammar and temperature change it."""
        spell, normaliser = self._detokenizer.token_bytes, choosing.log_normaliser(row)

        def likely(one: int) -> tuple[bytes, float]:
            return spell(one), max(float(row[one]) - normaliser, _LEAST)

        return TokenLogprob(*likely(token), tuple(likely(int(one)) for one in choosing.top_of(row, count)), 0)
