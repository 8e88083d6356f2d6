"""Pieces of hashes, identifiers and measures, which are no house numbers and no names."""

import re
from typing import Final

from services.guard.redaction.charset import Charset

# A number that letters are glued to: of a hash or a measure, of no house; 12a and 5th are.
_NO_HOUSE = re.compile("[0-9]+(?:[A-Za-z][0-9]|(?!(?:st|nd|rd|th|bis|ter)(?![A-Za-z0-9]))[A-Za-z]{2})")
_IN_IPV6 = re.compile("[0-9]+[A-Za-z]")  # behind a colon
_CODE = re.compile("(?=[A-Za-z]*[0-9])[A-Za-z0-9_]{9}")  # letters and digits in a row, as in a key or a hash
_GLUED: Final = Charset("A-Za-z0-9_")
_JOINED = frozenset("_-")
_AHEAD = 16  # characters from a word's first that decide, and two before it
COUNT = re.compile("[0-9]+(?: [a-z]+)+\\Z")  # 500 calories: an address only if there is a road in it


def ends_within(text: str, start: int) -> bool:
    """Whether what is glued together from there on ends within the text: more text changes no answer then."""
    return _GLUED.past(text, start, len(text)) < len(text)


def within_code(text: str, start: int) -> bool:
    """Whether the word or number that begins there is a piece of a hash, an identifier or a key."""
    before = text[max(0, start - 2) : start]
    if before and (before[-1].isdigit() or (before[-1] in _JOINED and len(before) == 2 and before[0].isalnum())):
        return True
    ahead = text[start : start + _AHEAD]
    if ahead[0].isdigit():
        glued = _IN_IPV6 if before[-1:] == ":" else _NO_HOUSE
        return before[-1:].isalpha() or glued.match(ahead) is not None
    return _CODE.match(ahead) is not None
