"""Numbers that only a word tells: accounts, and social security numbers without their dashes."""

import re

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch

_SSN = re.compile(r"(?!000|666)\d{3}(?!00)\d\d(?!0000)\d{4}", re.ASCII)


class Account:
    """6 to 20 digits directly behind a word for an account."""

    entity, rule, lengths, opens = "ACCOUNT_NUMBER", "account-word", tuple(range(6, 21)), False
    beginnings = None
    alone = True

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

    entity, rule, lengths, opens = "US_SSN", "ssn", (9,), False
    beginnings = "012345678"
    alone = True

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
