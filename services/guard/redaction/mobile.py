"""Mobile numbers of mainland China: eleven digits from 13 to 19, with or without the country code."""

import re

from services.guard.redaction.digits import Reading

ENTITY = "MOBILE_NUMBER"
SHORTEST = 11

_NUMBER = re.compile(r"(0086|86|0)?(1[3-9][0-9]{9})", re.ASCII)

# Ways in which people group the eleven digits; any other grouping needs a word or a country code before it.
_GROUPINGS = frozenset(
    {(11,), (3, 4, 4), (3, 8), (7, 4), (3, 3, 5), (3, 5, 3), (4, 4, 3), (4, 3, 4), (5, 6), (6, 5), (5, 3, 3), (5, 4, 2)}
    | {(3, 2, 3, 3), (3, 2, 2, 2, 2), (3, 4, 2, 2), (3, 3, 3, 2), (5, 2, 2, 2)}
)
_WEAK = re.compile("[n,]")
_NORTH_AMERICAN = (1, 3, 3, 4)


def might_start(digits: str) -> bool:
    """Whether a mobile number may start with these first digits of a run (up to four)."""
    return re.match(r"(?:0086|86|0)?(?:1(?:[3-9]|$)|$)", digits) is not None or "0086".startswith(digits)


def fitting(number: str) -> list[int]:
    """How many of the first digits may be a mobile number, however they are written; at most one way."""
    match = _NUMBER.match(number)
    return [match.end()] if match else []


def plain_number(reading: Reading, *, plus: bool, named: bool, alone: bool) -> str | None:
    """The eleven digits, if the reading is written as a mobile number is.

    `plus`: a plus sign stands before it. `named`: a word nearby says telephone. `alone`: no digits before or after."""
    match = _NUMBER.fullmatch(reading.number)
    if match is None:
        return None
    prefix = match[1] or ""
    if prefix == "0" and not named:
        return None
    sizes = reading.groups(len(prefix))
    if not _written_as_telephone(reading, prefix, sizes, plus=plus, named=named, alone=alone):
        return None
    return match[2]


def _written_as_telephone(
    reading: Reading, prefix: str, sizes: tuple[int, ...], *, plus: bool, named: bool, alone: bool
) -> bool:
    if not prefix and (sizes == _NORTH_AMERICAN or (plus and sizes[0] == 1 and len(sizes) < 11)):
        return False
    if not named and any(_WEAK.search(gap) for gap in reading.gaps):
        return sizes == (3, 4, 4)
    if _date(reading) or _address(reading):
        return False
    if sizes in _GROUPINGS or named or prefix == "0086" or (plus and prefix):
        return True
    return alone and max(sizes) <= 2 and len(set(reading.gaps)) == 1


def _date(reading: Reading) -> bool:
    """1990-01-01 100 and its like."""
    number, sizes = reading.number, reading.groups()
    return sizes[:3] == (4, 2, 2) and number[:2] in ("19", "20") and number[4:6] <= "12" and number[6:8] <= "31"


def _address(reading: Reading) -> bool:
    """192.168.10.123: an IPv4 address."""
    return len(reading.groups()) == 4 and max(reading.groups()) <= 3 and set(reading.gaps) == {"."}
