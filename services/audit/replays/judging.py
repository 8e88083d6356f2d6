"""What a replay shows: the same tokens, others from a place on, or nothing, because it was not the same request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.audit.replays.generation import Generation, Maker

INVARIANT = "batch_invariant"  # of a maker: batch mates change no token
WEIGHTS = "weights_digest"


class Verdict(StrEnum):
    EXACT = "EXACT"
    DIVERGED = "DIVERGED"
    NOT_REPLAYABLE = "NOT_REPLAYABLE"


class Reason(StrEnum):
    """Why a replay shows nothing."""

    ERASED = "ERASED"
    RECORD_OPEN = "RECORD_OPEN"
    NO_TOKENS = "NO_TOKENS"  # nothing was generated, or none of it kept
    WEIGHTS_UNKNOWN = "WEIGHTS_UNKNOWN"  # their digest was not recorded: others could not be told from them
    MADE_BY_SEVERAL = "MADE_BY_SEVERAL"  # workers that differ made one answer, or a request's answers
    MODEL_NOT_SERVED = "MODEL_NOT_SERVED"
    ADAPTER_GONE = "ADAPTER_GONE"  # or another one has its name now
    OTHER_REQUEST = "OTHER_REQUEST"  # what was run is not what was recorded
    OTHER_PROMPT = "OTHER_PROMPT"  # the same messages are other tokens
    NOT_DETERMINISTIC = "NOT_DETERMINISTIC"  # other tokens, but batch mates can change them there
    REPLAY_FAILED = "REPLAY_FAILED"  # it did not end by itself


# Words of a maker, and what it means that one is another. Others that a maker may have are no obstacle.
_OTHER = {
    "model": "OTHER_MODEL",
    "revision": "OTHER_REVISION",
    WEIGHTS: "OTHER_WEIGHTS",
    "template_digest": "OTHER_TEMPLATE",
    "engine": "OTHER_ENGINE",
    "engine_version": "OTHER_ENGINE_VERSION",
    "platform": "OTHER_PLATFORM",
    "dtype": "OTHER_DTYPE",
    "quantization": "OTHER_QUANTIZATION",
    "attention": "OTHER_ATTENTION",
}


@dataclass(frozen=True)
class Judgement:
    """`tokens` are the same; from there on `token` of answer `choice` is another. No text, and no token's id."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    tokens: int = 0
    choice: int | None = None
    token: int | None = None


@dataclass(frozen=True)
class Serving:
    """A live worker. `adapters`: digests in hexadecimal by name."""

    maker: Maker
    adapters: Mapping[str, str]


def not_replayable(*reasons: str) -> Judgement:
    return Judgement(Verdict.NOT_REPLAYABLE, tuple(dict.fromkeys(reasons)))


def other(then: Maker, now: Maker) -> list[str]:
    """In what the two differ."""
    return [reason for word, reason in _OTHER.items() if then.get(word, "") != now.get(word, "")]


def obstacle(generation: Generation | None) -> Reason | None:
    """To replaying a record at all."""
    if generation is None or not generation.tokens:
        return Reason.NO_TOKENS
    if len(generation.makers) != 1:
        return Reason.MADE_BY_SEVERAL if generation.makers else Reason.NO_TOKENS
    return None if generation.makers[0].get(WEIGHTS) else Reason.WEIGHTS_UNKNOWN


def missing(maker: Maker, adapter: tuple[str, str], serving: Sequence[Serving]) -> list[str]:
    """What keeps the live workers from a replay: nothing if one of them is alike, else what the nearest is short of.
    `adapter`: name and digest; empty for none."""
    candidates = [one for one in serving if one.maker.get("model") == maker.get("model")]
    if not candidates:
        return [Reason.MODEL_NOT_SERVED]
    return min((_short_of(maker, adapter, one) for one in candidates), key=len)


def _short_of(maker: Maker, adapter: tuple[str, str], one: Serving) -> list[str]:
    name, digest = adapter
    gone = [Reason.ADAPTER_GONE] if name and one.adapters.get(name) != digest else []
    return [*other(maker, one.maker), *gone]


def compared(then: Generation, now: Generation | None, *, whole: bool) -> Judgement:
    """`whole`: the first answer came to its own end. Else it was cut short, and the second may go on."""
    if now is None:
        return not_replayable(Reason.NO_TOKENS)
    if len(now.makers) != 1:
        return not_replayable(Reason.MADE_BY_SEVERAL)
    if differs := other(then.makers[0], now.makers[0]):
        return not_replayable(*differs)
    if then.prompt != now.prompt or len(then.answers) != len(now.answers):
        return not_replayable(Reason.OTHER_PROMPT)
    same = 0
    for choice, (first, second) in enumerate(zip(then.answers, now.answers, strict=True)):
        token = _parted(first, second)
        same += token
        if token < len(first) or (whole and token < len(second)):
            return _diverged(now, Judgement(Verdict.DIVERGED, (), same, choice, token))
    return Judgement(Verdict.EXACT, (), same)


def _parted(first: Sequence[int], second: Sequence[int]) -> int:
    """How far they are the same."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, two) in pairs if one != two), min(len(first), len(second)))


def _diverged(now: Generation, found: Judgement) -> Judgement:
    """Other tokens say something of the model only where nothing else can have changed them."""
    if now.makers[0].get(INVARIANT) is True:
        return found
    reasons = (Reason.NOT_DETERMINISTIC,)
    return Judgement(Verdict.NOT_REPLAYABLE, reasons, found.tokens, found.choice, found.token)
