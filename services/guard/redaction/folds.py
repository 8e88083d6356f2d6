"""A text with each character in the form that it is given, or left out; most characters of most texts stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

_ASCII: Final = 128
_POINTS: Final = 1 << 16  # of the basic plane, in blocks that are looked at when a character of theirs is first met
_BLOCK: Final = 256
_STAYS: Final = 1  # what a character of such a block does
_CHANGES: Final = 2


class Folds:
    """Filled as characters are met; at most one item for each Unicode character."""

    def __init__(self, fold_one: Callable[[str], str]) -> None:
        """`fold_one` gives one character or none."""
        self._fold_one = fold_one
        self._low = [fold_one(chr(point)) for point in range(_ASCII)]
        self._high: dict[int, str] = {}
        self._kinds = bytes(_POINTS)
        # ASCII text is folded by its bytes. What is left out has the first byte that is no ASCII, and each character
        # that becomes one outside of it one of its own.
        self._wide = ["", *sorted({one for one in self._low if not one.isascii()})]
        codes = [_ASCII + self._wide.index(one) if one in self._wide else ord(one) for one in self._low]
        self._table = bytes(codes) + bytes(range(_ASCII, 256))

    def fold(self, text: str) -> str:
        if text.isascii():
            return self._fold_ascii(text)
        size: i64 = len(text)
        kinds, pieces = self._kinds, list[str]()
        place: i64 = 0
        done: i64 = 0
        while place < size:
            point: i64 = ord(text[place])
            if point >= _POINTS or kinds[point] != _STAYS:
                if point >= _POINTS or kinds[point] == _CHANGES or not self._stays(point):
                    if done < place:
                        pieces.append(text[done:place])
                    pieces.append(self._low[point] if point < _ASCII else self._folded(point))
                    done = place + 1
                kinds = self._kinds
            place += 1
        if not done:
            return text
        if done < size:
            pieces.append(text[done:])
        return "".join(pieces)

    def _fold_ascii(self, text: str) -> str:
        folded = text.encode("ascii").translate(self._table).decode("latin-1")
        if not folded.isascii():
            for place, character in enumerate(self._wide):
                folded = folded.replace(chr(_ASCII + place), character)
        return folded

    def _folded(self, point: int) -> str:
        folded = self._high.get(point)
        if folded is None:
            folded = self._high[point] = self._fold_one(chr(point))
        return folded

    def _stays(self, point: int) -> bool:
        """Of a character that was not met yet."""
        begin = point // _BLOCK * _BLOCK
        block = [_STAYS if self._fold_one(chr(one)) == chr(one) else _CHANGES for one in range(begin, begin + _BLOCK)]
        self._kinds = self._kinds[:begin] + bytes(block) + self._kinds[begin + _BLOCK :]
        return self._kinds[point] == _STAYS
