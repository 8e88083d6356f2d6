"""Mobile numbers of mainland China: eleven digits from 13 to 19, with or without the country code."""

import re
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch

_NUMBER = re.compile(r"(0086|86|0)?(1[3-9][0-9]{9})", re.ASCII)

# Ways in which people group the eleven digits; any other grouping needs a word or a country code before it.
_GROUPINGS = frozenset(
    {(11,), (3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (3, 5, 3), (4, 4, 3), (4, 3, 4), (5, 6), (6, 5), (5, 3, 3), (5, 4, 2)}
    | {(3, 2, 3, 3), (3, 2, 2, 2, 2), (3, 4, 2, 2), (3, 3, 3, 2), (5, 2, 2, 2)}
)
_USUAL = frozenset({(11,), (3, 4, 4)})
_NORTH_AMERICAN = (1, 3, 3, 4)


class Mobile:
    entity: ClassVar[str] = "MOBILE_NUMBER"
    rule: ClassVar[str] = "mainland-mobile"
    lengths: ClassVar[tuple[int, ...]] = (11, 12, 13, 15)
    opens: ClassVar[bool] = True
    beginnings: ClassVar[str | None] = "108"
    alone: ClassVar[bool] = False

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        return _NUMBER.fullmatch(number) is not None

    def accepts(self, reading: Reading) -> str | None:
        match = _NUMBER.fullmatch(reading.number)
        if match is None:
            return None
        named = reading.lead.says_telephone
        prefix = match[1] or ""
        if prefix == "0" and not named:
            return None
        if not _written_as_telephone(reading, prefix, named=named):
            return None
        if not named and not reading.plus and (reading.in_a_code or reading.in_a_fraction):
            return None
        return None if reading.counts_something else match[2]


def _written_as_telephone(reading: Reading, prefix: str, *, named: bool) -> bool:
    sizes = _without(reading.sizes, len(prefix))
    if not prefix and (sizes == _NORTH_AMERICAN or (reading.plus and sizes[0] == 1 and len(sizes) < 11)):
        return False
    if not named and reading.broken:
        return sizes == (3, 4, 4)
    if _date(reading) or _address(reading):
        return False
    if sizes in _USUAL or named or prefix == "0086" or (reading.plus and prefix):
        return True
    if sizes in _GROUPINGS:
        return reading.alone
    return reading.alone and max(sizes) <= 2 and len(set(reading.gaps)) == 1


def _without(sizes: tuple[int, ...], prefix: int) -> tuple[int, ...]:
    """The sizes of the groups behind the first `prefix` digits."""
    left = list(sizes)
    while prefix:
        taken = min(prefix, left[0])
        left[0] -= taken
        prefix -= taken
        if not left[0]:
            del left[0]
    return tuple(left)


def _date(reading: Reading) -> bool:
    """1990-01-01 100 and its like."""
    number, sizes = reading.number, reading.sizes
    return sizes[:3] == (4, 2, 2) and number[:2] in ("19", "20") and number[4:6] <= "12" and number[6:8] <= "31"


def _address(reading: Reading) -> bool:
    """192.168.10.123: an IPv4 address."""
    return len(reading.sizes) == 4 and max(reading.sizes) <= 3 and set(reading.gaps) == {"."}


# Area codes by the numbering plan of 2017, without the leading 0.
AREAS = (
    r"10|2[0-57-9]|3(?:1\d|35|49|5\d|7[0-79]|9[1-68])|4(?:1[1-9]|2[179]|3[3-9]|5[1-9]|6[4-9]|7\d|8[23])"
    r"|5(?:1\d|2[37]|3\d|4[36]|5\d|6[1-6]|7\d|8[0-9]|9\d)|6(?:3[1-5]|6[0238]|9[12])|7(?:01|1\d|2[248]|3\d|4[3-6]|5\d"
    r"|6[0236-9]|7\d|9\d)|8(?:1[23678]|2[5-7]|3\d|5\d|7\d|8[3678]|9\d)|9(?:0[1-36-9]|1[0-79]|3\d|4[13]|5[1-5]|7[0-7]|9\d)"
)
_LANDLINE = re.compile(rf"(?:(0086|86)?0?|0)({AREAS})([2-8]\d{{6,7}})", re.ASCII)
_WITH_AREA = frozenset({(3, 8), (4, 8), (4, 7), (3, 4, 4), (4, 4, 4), (4, 3, 4), (4, 4, 3), (3, 8, 0)})


class Landline:
    """An area code and seven or eight digits; without an area code, or in one piece, only where a word says so."""

    entity: ClassVar[str] = "LANDLINE_NUMBER"
    rule: ClassVar[str] = "mainland-landline"
    lengths: ClassVar[tuple[int, ...]] = (7, 8, 10, 11, 12, 13, 14)
    opens: ClassVar[bool] = True
    beginnings: ClassVar[str | None] = "02345678"
    alone: ClassVar[bool] = True

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        if len(number) < 9:
            return number[0] != "0" and stretch.says(said.TELEPHONE)
        return (number[0] == "0" or "+" in stretch.content) and _LANDLINE.fullmatch(number) is not None

    def accepts(self, reading: Reading) -> str | None:
        if len(reading.number) < 9:
            return self._local(reading) if reading.lead.names_telephone else None
        match = _LANDLINE.fullmatch(reading.number)
        if match is None or reading.in_a_fraction:
            return None
        if not (reading.number.startswith("0") or reading.plus):
            return None
        named = reading.lead.names_telephone
        split = reading.sizes in _WITH_AREA and not reading.broken and reading.alone
        if not (split or named or (reading.plus and match[1])) or (reading.in_a_code and not named):
            return None
        return None if reading.counts_something else reading.number

    @staticmethod
    def _local(reading: Reading) -> str | None:
        number = reading.number
        fits = reading.sizes in ((7,), (8,), (3, 4), (4, 4)) and number[0] in "2345678" and reading.alone
        if not fits or reading.in_a_code or reading.in_a_fraction or reading.counts_something:
            return None
        return number
