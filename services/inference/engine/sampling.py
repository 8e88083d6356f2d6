"""How the tokens of one request are chosen, and the bounds within which that is possible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 256  # characters; also bounds the text held back
MAX_STOP_IDS = 64
MAX_BIASED = 1024  # tokens with a bias
MAX_LOGPROBS = 20
MAX_GRAMMAR_LENGTH = 65_536  # characters


class EngineRefusal(Exception):
    """The engine refuses a request; it stays as it was. `field`, `bound` and the message are safe to show a caller."""

    reason = "REFUSED"

    def __init__(self, field: str, bound: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.bound = bound


class ImpossibleSampling(EngineRefusal):
    reason = "IMPOSSIBLE_SAMPLING"

    def __init__(self, field: str, bound: str) -> None:
        super().__init__(field, bound, f"{field} must be {bound}")


class NotSupported(EngineRefusal):
    """The engine lacks what a field asks for."""

    reason = "NOT_SUPPORTED"

    def __init__(self, field: str) -> None:
        super().__init__(field, "unset", f"this model's engine has no {field}: leave it out, or ask another model")


class GrammarKind(StrEnum):
    """In what language a grammar is written."""

    JSON_SCHEMA = "JSON_SCHEMA"  # of any JSON object: {"type": "object"}
    REGEX = "REGEX"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """What the whole answer must match."""

    kind: GrammarKind
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are chosen. Every field is set: the defaults belong to the model profile, not to the engine.

    Logits are changed in this order: repetition_penalty, frequency_penalty and presence_penalty, logit_bias, grammar;
    then temperature, top_k, top_p and min_p narrow them down. Greedy takes the top of what the first four leave.
    """

    temperature: float  # 0 = greedy; then top_p, top_k, min_p and seed decide nothing
    top_p: float = 1.0
    top_k: int = 0  # 0 = off
    min_p: float = 0.0  # share of the most likely token's probability; 0 = off
    seed: int = 0  # with the token's position it keys the generator; 0 ≤ seed < 2^64
    max_tokens: int = 512
    min_tokens: int = 0  # the model's end of turn and stop_ids are not chosen before; a stop string still ends
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    repetition_penalty: float = 1.0  # divides (a logit above 0) or multiplies what prompt or answer hold; 1 = off
    presence_penalty: float = 0.0  # taken once from what the answer holds
    frequency_penalty: float = 0.0  # taken as often as the answer holds it
    logit_bias: tuple[tuple[int, float], ...] = ()  # token id and what is added to its logit
    grammar: Grammar | None = None
    logprobs: int | None = None  # how many alternatives to each token are told; None = not even the token's own

    def __post_init__(self) -> None:
        for field, possible, bound in self._bounds():
            if not possible:
                raise ImpossibleSampling(field, bound)

    def _bounds(self) -> tuple[tuple[str, bool, str], ...]:
        biased = [token for token, _ in self.logit_bias]
        return (
            ("temperature", 0.0 <= self.temperature <= 100.0, "0 to 100"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0, at most 1"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("min_p", 0.0 <= self.min_p <= 1.0, "0 (off) to 1"),
            ("seed", 0 <= self.seed < 2**64, "0 to 2^64 - 1"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
            ("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "0 to max_tokens"),
            ("min_tokens", not (self.min_tokens and self.grammar), "0 beside a grammar, which says when it ends"),
            (
                "stop",
                len(self.stop) <= MAX_STOP_STRINGS and all(1 <= len(stop) <= MAX_STOP_LENGTH for stop in self.stop),
                f"at most {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_LENGTH} characters",
            ),
            (
                "stop_ids",
                len(self.stop_ids) <= MAX_STOP_IDS and min(self.stop_ids, default=0) >= 0,
                f"at most {MAX_STOP_IDS} token ids of 0 or more",
            ),
            ("repetition_penalty", 0.0 < self.repetition_penalty <= 10.0, "above 0, at most 10"),
            ("presence_penalty", abs(self.presence_penalty) <= 2.0, "-2 to 2"),
            ("frequency_penalty", abs(self.frequency_penalty) <= 2.0, "-2 to 2"),
            (
                "logit_bias",
                len(self.logit_bias) <= MAX_BIASED and all(abs(bias) <= 100.0 for _, bias in self.logit_bias),
                f"for at most {MAX_BIASED} token ids, each -100 to 100",
            ),
            ("logit_bias", min(biased, default=0) >= 0, "of token ids of 0 or more"),
            ("logprobs", self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS, f"0 to {MAX_LOGPROBS}"),
            (
                "grammar",
                self.grammar is None or 1 <= len(self.grammar.text) <= MAX_GRAMMAR_LENGTH,
                f"1 to {MAX_GRAMMAR_LENGTH} characters",
            ),
        )

    def check_ids(self, vocabulary: int) -> None:
        """Raises ImpossibleSampling where a token is named that the model does not have."""
        named = (("logit_bias", [token for token, _ in self.logit_bias]), ("stop_ids", self.stop_ids))
        for field, ids in named:
            if max(ids, default=0) >= vocabulary:
                raise ImpossibleSampling(field, f"of token ids below {vocabulary}, which is what the model has")

    @property
    def asked(self) -> Iterator[str]:
        """The features that it asks for, by their names."""
        for field in fields(self):
            if field.name != "grammar" and getattr(self, field.name) != field.default:
                yield field.name
        if self.grammar:
            yield self.grammar.kind.value.lower()
        if self.logprobs:
            yield "top_logprobs"

    @property
    def plain(self) -> bool:
        """Logits are taken as the model gives them: what to choose does not depend on earlier tokens."""
        off = (self.repetition_penalty == 1.0, not self.presence_penalty, not self.frequency_penalty)
        return all(off) and not (self.logit_bias or self.grammar or self.min_tokens)
