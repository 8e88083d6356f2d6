"""Numbers by which a person or an account is known, found again without being kept: a keyed hash of each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from services.audit.sealing.hkdf import Derivation
from services.audit.sealing.mac import Mac

_WORD = re.compile("(?<![0-9A-Z])[A-Z]*[0-9][0-9A-Z]*")  # whole, with a digit in it: the others are many
_GROUPED = re.compile("(?<![0-9A-Z])[0-9A-Z]{2,}(?:[ .-][0-9]{2,})+[0-9A-Z]?")  # 6222 0200 1122 3344, DE89 3704 0044
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
        for text in texts:
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
    for match in _WORD.finditer(plain):
        word = match.group()
        if len(word) < SHORTEST or sum(map(str.isdigit, word)) < FEWEST_DIGITS:
            continue
        if len(word) <= LONGEST:
            yield word
        for run in _DIGITS.finditer(word):
            if SHORTEST <= len(run.group()) <= LONGEST and run.group() != word:
                yield run.group()
    for match in _GROUPED.finditer(plain):
        joined = normalized(match.group())
        if SHORTEST <= len(joined) <= LONGEST and sum(map(str.isdigit, joined)) >= FEWEST_DIGITS:
            yield joined
