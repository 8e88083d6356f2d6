"""Numbers by which a person or an account is known, found again without being kept: a keyed hash of each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from services.audit.sealing.hkdf import Derivation
from services.audit.sealing.mac import Mac

_CHARACTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # of a word
_RUN = re.compile("[0-9]+")
_JOINT = re.compile("(?<=[0-9A-Z]{2})[ .-](?=[0-9]{2})")
_GROUPED = re.compile("[0-9A-Z]{2,}(?:[ .-][0-9]{2,})+[0-9A-Z]?")
_DIGITS = re.compile("[0-9]{6,}X?")
_SEPARATORS = re.compile(r"[\s.\-_/]+")

SHORTEST, LONGEST = 6, 34  # characters; an IBAN has at most 34
FEWEST_DIGITS = 5
MOST_PER_RECORD = 256  # the first ones; a list of thousands is no text about somebody
_MAC_BYTES = 12
_MARK = "x"  # no facet begins with it


class BlindKeys:
    """A key for each tenant, of the index's own secret: with that gone, no number is found any more."""

    def __init__(self, secret: bytes) -> None:
        self._derivation = Derivation(secret)
        self._of_tenant = lru_cache(maxsize=1024)(self._new)

    def _new(self, tenant: str) -> Mac:
        return Mac(self._derivation.key(b"strongroom index identifiers v1\0" + tenant.encode()))

    def token(self, tenant: str, identifier: str) -> str:
        return _MARK + self._of_tenant(tenant).of(identifier.encode())[:_MAC_BYTES].hex()

    def tokens(self, tenant: str, texts: Iterable[str]) -> list[str]:
        found: dict[str, None] = {}
        for text in dict.fromkeys(texts):  # an answer is mostly released as it was generated
            for identifier in identifiers_in(text):
                found[identifier] = None
                if len(found) == MOST_PER_RECORD:
                    break
        return [self.token(tenant, identifier) for identifier in found]


def normalized(identifier: str) -> str:
    """As it is looked for: no separators, capitals, half-width."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", identifier)).upper()


def identifiers_in(text: str) -> Iterator[str]:
    """Every word with enough digits, every run of digits in a longer word, and digits in groups as one number."""
    plain = (text if text.isascii() else unicodedata.normalize("NFKC", text)).upper()
    runs = list(_RUN.finditer(plain))
    if sum(run.end() - run.start() for run in runs) < FEWEST_DIGITS:  # most texts, so they are looked through once
        return
    for word in _words(plain, runs):
        if len(word) < SHORTEST or sum(map(str.isdigit, word)) < FEWEST_DIGITS:
            continue
        if len(word) <= LONGEST:
            yield word
        for run in _DIGITS.finditer(word):
            if SHORTEST <= len(run.group()) <= LONGEST and run.group() != word:
                yield run.group()
    for group in _groups(plain):
        joined = normalized(group)
        if SHORTEST <= len(joined) <= LONGEST and sum(map(str.isdigit, joined)) >= FEWEST_DIGITS:
            yield joined


def _words(plain: str, runs: Iterable[re.Match[str]]) -> Iterator[str]:
    """Those with a digit, found from their digits: words without one are many."""
    end = 0
    for run in runs:
        if run.start() >= end:
            start, end = _start(plain, run.start(), end), _end(plain, run.end())
            yield plain[start:end]


def _groups(plain: str) -> Iterator[str]:
    """Of 6222 0200 1122 3344, DE89 3704 0044: found from what joins them."""
    end = 0
    for joint in _JOINT.finditer(plain):
        if joint.start() < end:
            continue
        start = _start(plain, joint.start(), 0)
        if start >= end and (group := _GROUPED.match(plain, start)):
            end = group.end()
            yield group.group()


def _start(plain: str, at: int, least: int) -> int:
    while at > least and plain[at - 1] in _CHARACTERS:
        at -= 1
    return at


def _end(plain: str, at: int) -> int:
    while at < len(plain) and plain[at] in _CHARACTERS:
        at += 1
    return at
