"""Bank cards: 13 to 19 digits with a Luhn check digit and the first digits of an issuer."""

import re
from datetime import date

from services.guard.redaction.digits import Reading

ENTITY = "BANK_CARD"
LENGTHS = (19, 18, 17, 16, 15, 14, 13)

# Issuer ranges (ISO/IEC 7812) with the lengths they use; 9 and 81 are Chinese debit and UnionPay.
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15,18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|35\d{14,17}|3(?:0[0-5]|[689]\d)\d{11,16}|6\d{12,18}|5[0678]\d{11,17}|81\d{14,17}|9[4589]\d{14,17}",
    re.ASCII,
)
_GROUPINGS = frozenset(
    {(4, 6, 5), (4, 6, 4), (6, 13), (6, 10), (8, 8), (6, 6, 7), (4, 4, 5), (4, 4, 4, 7), (6, 4, 4, 5)}
)
_DOUBLED = tuple(sum(divmod(2 * digit, 10)) for digit in range(10))
_WEAK = re.compile("[n,]")
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def fitting(number: str) -> list[int]:
    """Of LENGTHS those whose first digits may be a card number, however they are written. One pass for all of them:
    Luhn doubles every other digit, counted from the check digit, which must not be doubled."""
    found: list[int] = []
    even, odd = 0, 0  # sums in which the digits at even places are doubled, and those at odd ones
    for length, digit in enumerate(map(int, number[: LENGTHS[0]]), 1):
        if length % 2:
            even, odd = even + _DOUBLED[digit], odd + digit
            total = odd
        else:
            even, odd = even + digit, odd + _DOUBLED[digit]
            total = even
        if length >= LENGTHS[-1] and total % 10 == 0:
            found.insert(0, length)
    return [length for length in found if len(set(number[:length])) > 1 and not _resident_id(number[:length])]


def plain_number(reading: Reading, *, named: bool, alone: bool) -> str | None:
    """The digits, which fit, if they are written as a card number is. `named`: a word nearby says card. `alone`: no
    digits beside it."""
    number = reading.number
    issued = _ISSUED.fullmatch(number) is not None
    sizes = reading.groups()
    fours = all(size == 4 for size in sizes[:-1]) and sizes[-1] <= 4
    if not issued:  # no issuer we know of: only where a word says so, and in no unusual grouping
        return number if named and len(number) >= 15 and not _time(number) and (len(sizes) == 1 or fours) else None
    if named or len(sizes) == 1:
        return number
    if any(_WEAK.search(gap) for gap in reading.gaps):
        return None
    if fours or sizes in _GROUPINGS:
        return number
    even = all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0]
    if even and (sizes[0] > 4 or (alone and len(set(reading.gaps)) == 1)):
        return number
    return None


def _time(number: str) -> bool:
    """Starts like a date: 20250111349598366."""
    return number[:2] in ("19", "20") and "01" <= number[4:6] <= "12"


def _resident_id(number: str) -> bool:
    """An 18-digit resident identity number (GB 11643): its own class of data, and no card."""
    if len(number) != 18:
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, number, strict=False))
    return "10X98765432"[total % 11] == number[17]
