"""Resident identity numbers (GB 11643): region, date of birth, sequence, check digit; and those of 15 digits."""

import re
from datetime import date
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch

PROVINCES = frozenset(re.findall("..", "111213141521222331323334353637414243444546505152535461626364657181828391"))
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_LETTER = re.compile(r"[ \-._]{0,2}[Xx](?![A-Za-z0-9])")


def valid(number: str) -> bool:
    """18 characters, the last of which may be X."""
    if number[:2] not in PROVINCES or not _day(number[6:10], number[10:12], number[12:14]):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number))
    return _CHECKS[total % 11] == number[17]


def _day(year: str, month: str, day: str) -> bool:
    try:
        return date(int(year), int(month), int(day)).year >= 1850
    except ValueError:
        return False


class ResidentId:
    entity: ClassVar[str] = "RESIDENT_ID"
    rule: ClassVar[str] = "gb-11643"
    lengths: ClassVar[tuple[int, ...]] = (15, 18)
    opens: ClassVar[bool] = False
    beginnings: ClassVar[str | None] = "12345689"
    alone: ClassVar[bool] = False

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        if len(number) == 18:
            return valid(number)
        if number[:2] not in PROVINCES or not stretch.says(said.IDENTITY):
            return False
        return _day(f"19{number[6:8]}", number[8:10], number[10:12])

    def accepts(self, reading: Reading) -> str | None:
        number = reading.number
        if not _written_as_one(reading):
            return None
        if len(number) == 18:
            return None if _in_longer(reading) else number
        return number if reading.lead.says_identity and reading.alone else None


class ResidentIdWithX:
    """Seventeen digits and the check character X."""

    entity: ClassVar[str] = "RESIDENT_ID"
    rule: ClassVar[str] = "gb-11643"
    lengths: ClassVar[tuple[int, ...]] = (17,)
    opens: ClassVar[bool] = False
    beginnings: ClassVar[str | None] = "12345689"
    alone: ClassVar[bool] = False

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        return "X" in stretch.text[end : end + 3].upper() and valid(number + "X")

    def accepts(self, reading: Reading) -> str | None:
        letter = _LETTER.match(reading.stretch.text, reading.end, reading.stretch.end)
        if letter is None or not _written_as_one(reading):
            return None
        reading.end = letter.end()
        return reading.number + "X"


def _written_as_one(reading: Reading) -> bool:
    """In one piece or few, or in equal ones: not a row of a table."""
    sizes = reading.sizes
    return len(sizes) <= 4 or (reading.alone and (len(sizes) <= 6 or max(sizes[:-1]) == min(sizes[:-1])))


def _in_longer(reading: Reading) -> bool:
    """Part of a hexadecimal string."""
    return reading.in_a_code and len(reading.sizes) == 1 and _hexadecimal(reading)


def _hexadecimal(reading: Reading) -> bool:
    text, stretch = reading.stretch.text, reading.stretch
    around = text[max(0, reading.start - 4) : reading.start] + text[reading.end : min(stretch.end, reading.end + 4)]
    return re.search("[a-f0-9]", around) is not None
