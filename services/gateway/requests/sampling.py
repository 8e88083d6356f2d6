"""How a caller wants tokens chosen, and the bounds within which that is possible."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from chassis.failures import InvalidArgument, Unimplemented
from chassis.grammars import JSON_SCHEMA, MAX_GRAMMAR_CHARS, REGEX

MAX_STOPS, MAX_STOP_CHARS = 4, 64
MAX_STOP_IDS = 16
MAX_BIASED = 300  # tokens
MAX_LOGPROBS = 20
MAX_SEED = 2**53 - 1  # exact in every JSON reader, so that receipts are the same everywhere
MAX_CHOICES = 8
TOP_LOGPROBS = "top_logprobs"  # of logprobs, the alternatives: an engine may know a token's own alone

_OFF = {"n": 1, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "min_p": 0, "min_tokens": 0}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; None where the caller left it to the model's profile, or wants none of it."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()  # by token id
    stop_ids: tuple[int, ...] = ()
    min_tokens: int | None = None
    logprobs: int | None = None  # how many alternatives to each token
    json_schema: str | None = None
    regex: str | None = None
    n: int | None = None  # answers

    @property
    def choices(self) -> int:
        """How many answers; unset means one."""
        return self.n or 1

    def of_choice(self, index: int) -> Sampling:
        """For one answer alone: the one that a request of its own is given under that many above the seed."""
        if index == 0 and self.n is None and self.seed is not None:
            return self
        return replace(self, n=None, seed=((self.seed or 0) + index) % (MAX_SEED + 1))

    @property
    def grammar(self) -> tuple[str, str, str] | None:
        """Its kind, its text, and the field that it came in."""
        if self.json_schema is not None:
            return JSON_SCHEMA, self.json_schema, "json_schema"
        return None if self.regex is None else (REGEX, self.regex, "regex")

    @property
    def asked(self) -> Iterator[str]:
        """What it asks for, by field."""
        for field in fields(self):
            if getattr(self, field.name) not in (field.default, _OFF.get(field.name)):
                yield field.name
        if self.logprobs:
            yield TOP_LOGPROBS


@dataclass(frozen=True, slots=True)
class Profile:
    """A model's values for what a caller leaves unset."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    max_tokens: int = 512

    def resolve(self, asked: Sampling, seed: int) -> Sampling:
        """Every value set that has one; `seed` is what the gateway drew, used where the caller chose none."""
        return replace(
            asked,
            temperature=_or(asked.temperature, self.temperature),
            top_p=_or(asked.top_p, self.top_p),
            top_k=_or(asked.top_k, self.top_k),
            seed=_or(asked.seed, seed),
            max_tokens=_or(asked.max_tokens, self.max_tokens),
        )


@dataclass(frozen=True, slots=True)
class Able:
    """What the model that is asked can do, as far as its workers have said so."""

    context_tokens: int = 0
    vocabulary: int = 0  # token ids are below it
    lacks: Collection[str] = ()  # fields of Sampling
    choices: int = MAX_CHOICES  # to one prompt, by setting


def check_sampling(sampling: Sampling, able: Able, profile: Profile) -> None:
    """Raises what a caller should hear of the first field that is wrong, or that the model's engine lacks."""
    for name, value, low, high in _ranges(sampling, able, profile):
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise _wrong(name, f"is out of range: it must be {low} to {high}")
    for name, value, most in (("top_p", sampling.top_p, 1), ("repetition_penalty", sampling.repetition_penalty, 2)):
        if value is not None and not (math.isfinite(value) and 0 < value <= most):
            raise _wrong(name, f"is out of range: it must be above 0, at most {most}")
    _check_stops(sampling)
    _check_tokens(sampling, able.vocabulary)
    _check_grammar(sampling)
    for name in sampling.asked if able.lacks else ():
        if name in able.lacks:
            raise _unknown(name)


def _unknown(name: str) -> Unimplemented:
    field, without = f"prompt.sampling.{name}", "leave it out"
    if name == TOP_LOGPROBS:
        field, without = "prompt.sampling.logprobs", "ask for 0 alternatives"
    return Unimplemented(
        f"{field} is not known to this model's engine: {without}, or ask another model",
        field=field,
        reason="NOT_SUPPORTED",
    )


def _ranges(sampling: Sampling, able: Able, profile: Profile) -> tuple[tuple[str, float | None, float, float], ...]:
    most = profile.max_tokens if sampling.max_tokens is None else sampling.max_tokens
    return (
        ("temperature", sampling.temperature, 0, 2),
        ("top_k", sampling.top_k, 0, 1000),
        ("min_p", sampling.min_p, 0, 1),
        ("seed", sampling.seed, 0, MAX_SEED),
        ("max_tokens", sampling.max_tokens, 1, able.context_tokens or 2**31 - 1),
        ("min_tokens", sampling.min_tokens, 0, most),
        ("presence_penalty", sampling.presence_penalty, -2, 2),
        ("frequency_penalty", sampling.frequency_penalty, -2, 2),
        ("logprobs", sampling.logprobs, 0, MAX_LOGPROBS),
        ("n", sampling.n, 1, able.choices),
    )


def _check_stops(sampling: Sampling) -> None:
    if len(sampling.stop) > MAX_STOPS:
        raise _wrong("stop", f"has {len(sampling.stop)} strings, the bound is {MAX_STOPS}: send fewer")
    if any(not 0 < len(stop) <= MAX_STOP_CHARS for stop in sampling.stop):
        raise _wrong(
            "stop", f"holds a string that is empty or too long: each must have 1 to {MAX_STOP_CHARS} characters"
        )


def _check_tokens(sampling: Sampling, vocabulary: int) -> None:
    """`vocabulary` 0: nobody has said yet; the worker judges."""
    named = (
        ("logit_bias", [token for token, _ in sampling.logit_bias], MAX_BIASED),
        ("stop_ids", sampling.stop_ids, MAX_STOP_IDS),
    )
    for name, tokens, bound in named:
        if len(tokens) > bound:
            raise _wrong(name, f"names {len(tokens)} tokens, the bound is {bound}: send fewer")
        if tokens and not (min(tokens) >= 0 and max(tokens) < (vocabulary or 2**32)):
            raise _wrong(name, f"names a token that the model does not have: ids are 0 to {(vocabulary or 2**32) - 1}")
    if not all(math.isfinite(bias) and -100 <= bias <= 100 for _, bias in sampling.logit_bias):
        raise _wrong("logit_bias", "is out of range: each bias must be -100 to 100")


def _check_grammar(sampling: Sampling) -> None:
    if sampling.json_schema is not None and sampling.regex is not None:
        raise _wrong("regex", "and json_schema are both set: an answer has one grammar", "CONTRADICTION")
    if sampling.grammar is None:
        return
    _, text, name = sampling.grammar
    if not 0 < len(text) <= MAX_GRAMMAR_CHARS:
        raise _wrong(name, f"has {len(text)} characters: it must have 1 to {MAX_GRAMMAR_CHARS}")
    if sampling.min_tokens:
        raise _wrong("min_tokens", f"must be 0 beside {name}, which says itself when the answer ends")


def _wrong(name: str, what: str, reason: str = "INVALID_ARGUMENT") -> InvalidArgument:
    return InvalidArgument(f"prompt.sampling.{name} {what}", field=f"prompt.sampling.{name}", reason=reason)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
