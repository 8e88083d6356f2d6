"""Sets and kinds of characters that a text is read by without an object for each of its characters, once compiled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

_POINTS: Final = 1 << 16  # of the basic plane; no set has any of another one
_PLANE: Final = "".join(map(chr, range(_POINTS)))


def kinds_of(*sets: str) -> bytes:
    """For each character of the basic plane the number of the first set that has it, from 1 on, and 0 for all others.
    A set is what stands within the brackets of a pattern."""
    kinds = bytearray(_POINTS)
    for number, characters in reversed(list(enumerate(sets, 1))):
        for match in re.finditer(f"[{characters}]+", _PLANE):
            start, end = match.span()
            kinds[start:end] = bytes([number]) * (end - start)
    return bytes(kinds)


class Charset:
    """Searches from one place to another: what is not there is at the end."""

    def __init__(self, characters: str) -> None:
        """`characters`: what stands within the brackets of a pattern."""
        self._has = kinds_of(characters)

    def first(self, text: str, start: i64, end: i64) -> i64:
        """The first place of one."""
        has = self._has
        place = start
        while place < end:
            point: i64 = ord(text[place])
            if point < _POINTS and has[point]:
                break
            place += 1
        return place

    def past(self, text: str, start: i64, end: i64) -> i64:
        """Where the row of them ends that begins at `start`."""
        has = self._has
        place = start
        while place < end:
            point: i64 = ord(text[place])
            if point >= _POINTS or not has[point]:
                break
            place += 1
        return place

    def begin(self, text: str, low: i64, end: i64) -> i64:
        """Where the row of them begins that ends at `end`, not before `low`."""
        has = self._has
        place = end
        while place > low:
            point: i64 = ord(text[place - 1])
            if point >= _POINTS or not has[point]:
                break
            place -= 1
        return place
