"""Bank and credit cards: 13 to 19 digits with a Luhn check digit and the first digits of an issuer."""

import re
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch

# Issuer ranges (ISO/IEC 7812) with the lengths they use; 9 and 81 are Chinese debit and UnionPay.
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15,18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|35\d{14,17}|3(?:0[0-5]|[689]\d)\d{11,16}|6\d{12,18}|5[0678]\d{11,17}|81\d{14,17}|9[4589]\d{14,17}",
    re.ASCII,
)
_GROUPINGS = frozenset(
    {(4, 6, 5), (4, 6, 4), (6, 13), (6, 10), (8, 8), (6, 6, 7), (4, 4, 5), (4, 4, 4, 7), (6, 4, 4, 5)}
)
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")
_NAMED = re.compile(r"(?:卡号?|(?<![a-z])(?:card|cc)(?: ?(?:no|number|num|#))?)[^0-9]{0,6}$")


def luhn(number: str) -> bool:
    digits = number.encode("ascii")
    return (sum(digits[-1::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - len(digits) * ord("0")) % 10 == 0


class BankCard:
    entity: ClassVar[str] = "BANK_CARD"
    rule: ClassVar[str] = "luhn-issuer"
    lengths: ClassVar[tuple[int, ...]] = (19, 18, 17, 16, 15, 14, 13, 12)
    opens: ClassVar[bool] = False
    beginnings: ClassVar[str | None] = None
    alone: ClassVar[bool] = False

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        if not _ISSUED.fullmatch(number) and not stretch.says(said.CARD):
            return False
        return luhn(number) and len(set(number)) > 1

    def accepts(self, reading: Reading) -> str | None:
        number, named = reading.number, reading.lead.says_card
        if not self._written_as_card(reading, named=named):
            return None
        if not named and (reading.in_a_code or reading.in_a_fraction):
            return None
        return None if reading.counts_something else number

    @staticmethod
    def _written_as_card(reading: Reading, *, named: bool) -> bool:
        number, sizes = reading.number, reading.sizes
        fours = all(size == 4 for size in sizes[:-1]) and sizes[-1] <= 4
        if not _ISSUED.fullmatch(number):  # no issuer we know of: only where a word says so, and in no unusual grouping
            if not named or _time(number) or not (len(sizes) == 1 or fours):
                return False
            return len(number) >= 15 or _NAMED.search(reading.lead.words[-20:]) is not None
        if named or len(sizes) == 1:
            return True
        if reading.broken:
            return False
        if fours or sizes in _GROUPINGS:
            return True
        even = all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0]
        return even and (sizes[0] > 4 or (reading.alone and len(set(reading.gaps)) == 1))


def _time(number: str) -> bool:
    """Starts like a date: 20250111349598366."""
    return number[:2] in ("19", "20") and "01" <= number[4:6] <= "12"
