"""Numbers that only a word tells: accounts, and social security numbers without their dashes."""

import re
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch

_SSN = re.compile(r"(?!000|666)\d{3}(?!00)\d\d(?!0000)\d{4}", re.ASCII)


class Account:
    """6 to 20 digits directly behind a word for an account."""

    entity: ClassVar[str] = "ACCOUNT_NUMBER"
    rule: ClassVar[str] = "account-word"
    lengths: ClassVar[tuple[int, ...]] = tuple(range(6, 21))
    opens: ClassVar[bool] = False
    beginnings: ClassVar[str | None] = None
    alone: ClassVar[bool] = True

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        return stretch.says(said.ACCOUNT)

    def accepts(self, reading: Reading) -> str | None:
        if not reading.lead.names_account or not reading.alone or reading.in_a_fraction:
            return None
        if reading.broken or reading.in_a_code or reading.counts_something:
            return None
        return reading.number


class SocialSecurity:
    """US social security numbers: three, two and four digits; joined or spaced only where a word says so."""

    entity: ClassVar[str] = "US_SSN"
    rule: ClassVar[str] = "ssn"
    lengths: ClassVar[tuple[int, ...]] = (9,)
    opens: ClassVar[bool] = False
    beginnings: ClassVar[str | None] = "012345678"
    alone: ClassVar[bool] = True

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        return _SSN.fullmatch(number) is not None

    def accepts(self, reading: Reading) -> str | None:
        if not reading.alone or reading.in_a_fraction:
            return None
        named = reading.lead.says_ssn
        dashed = reading.sizes == (3, 2, 4) and reading.gaps == ("-", "-")
        spaced = reading.sizes in ((3, 2, 4), (9,)) and not reading.broken
        if not (dashed or (named and spaced)) or (reading.in_a_code and not named):
            return None
        return None if reading.counts_something else reading.number
