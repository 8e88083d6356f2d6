"""What leaves at once, in as many RELEASEs as it takes: audit takes no item above a size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from services.gateway.requests.outcome import Delta, TokenLogprob

RELEASE_BYTES = 2 * 1024 * 1024  # half of what the stream to audit takes as one item
_PARTS_A_RELEASE = 8  # so that one which is cut fills it well
_AROUND_BYTES = 200  # of the pieces of a delta, four at most, beside their content
_CHARACTER_BYTES = 6  # at most, in JSON
_PLACE_BYTES = 128  # at most, of one where a token was put back
_LOGPROB_BYTES = 32  # at most 24 of a number, and the signs around it and its token
T = TypeVar("T")


def portions(deltas: Iterable[Delta], most_bytes: int = RELEASE_BYTES) -> Iterator[list[Delta]]:
    """Of each choice in order: where tokens were put back, reasoning, text, then log-probabilities behind their text.
    Only what is too large is cut."""
    parts = (part for delta in deltas for part in _parts(delta, most_bytes // _PARTS_A_RELEASE))
    return _filled(parts, _weight, most_bytes)


def _parts(delta: Delta, most_bytes: int) -> Iterator[Delta]:
    if _weight(delta) <= most_bytes:
        yield delta
        return
    characters = most_bytes // _CHARACTER_BYTES
    for places in _filled(delta.restored, lambda place: _PLACE_BYTES, most_bytes):
        yield Delta("", choice=delta.choice, restored=tuple(places))
    for reasoning in _cut(delta.reasoning, characters):
        yield Delta("", reasoning, choice=delta.choice)
    for text in _cut(delta.text, characters):
        yield Delta(text, choice=delta.choice)
    for told in _filled(delta.logprobs, _weight_of_logprob, most_bytes):
        yield Delta("", logprobs=tuple(told), choice=delta.choice)


def _cut(text: str, characters: int) -> Iterator[str]:
    return (text[at : at + characters] for at in range(0, len(text), characters))


def _filled(items: Iterable[T], weigh: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Groups of items in order, each as heavy as it may be."""
    group: list[T] = []
    weight = 0
    for item in items:
        own = weigh(item)
        if group and weight + own > most:
            yield group
            group, weight = [], 0
        group.append(item)
        weight += own
    if group:
        yield group


def _weight(delta: Delta) -> int:
    """No fewer bytes than it takes in a RELEASE."""
    characters = len(delta.text) + len(delta.reasoning)
    places = _PLACE_BYTES * len(delta.restored)
    return _AROUND_BYTES + _CHARACTER_BYTES * characters + places + sum(map(_weight_of_logprob, delta.logprobs))


def _weight_of_logprob(one: TokenLogprob) -> int:
    tokens = len(one.token) + sum(len(token) for token, _ in one.top)
    return 2 * tokens + _LOGPROB_BYTES * (1 + len(one.top))
