"""Telephone numbers of other countries: with a country code, in North American form, or where a word says so."""

import re
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.number import Reading
from services.guard.redaction.stretch import Stretch, Words

# Country codes (ITU-T E.164), longest first is not needed: they are prefix-free.
_CODES = (
    r"1|7|2(?:0|7|1[1-368]|[2346]\d|5[0-8]|9[0178])|3(?:[0-469]|5\d|7[0-8]|8[0-35-79])|4(?:[013-9]|2[0-3])"
    r"|5(?:[1-8]|0\d|9\d)|6(?:[0-6]|7[02-9]|8[0-35-9]|9[0-2])|8(?:[1246]|5[02356]|8[0-368])|9(?:[0-58]|6[0-8]|7[0-79]|9[2-689])"
)
_INTERNATIONAL = re.compile(rf"(?:00)?(?:{_CODES})[0-9]{{6,12}}", re.ASCII)
_AREA = r"(?!800|833|844|855|866|877|888|900|[2-9]00|[2-9]11)[2-9]\d\d"  # no toll-free, no service code
_NORTH_AMERICAN = re.compile(rf"1?({_AREA})[2-9]\d{{6}}", re.ASCII)
_NATIONAL = re.compile(r"0[1-9][0-9]{7,10}", re.ASCII)
_NAMED_AFTER = Words(
    re.compile(r"[\s\-(]{0,3}(?:office|fax|mobile|cell|home|work|phone|tel)(?![a-z])"),
    " \n-(ofmchwptOFMCHWPT",
    ("office", "fax", "mobile", "cell", "home", "work", "phone", "tel"),
    " \n-(",
)


class Phone:
    entity: ClassVar[str] = "PHONE_NUMBER"
    rule: ClassVar[str] = "telephone"
    lengths: ClassVar[tuple[int, ...]] = tuple(range(7, 16))
    opens: ClassVar[bool] = True
    beginnings: ClassVar[str | None] = None
    alone: ClassVar[bool] = True

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        if stretch.says(said.TELEPHONE) or "+" in stretch.content or stretch.may_follow(_NAMED_AFTER, end):
            return True
        return number.startswith("00") or _NORTH_AMERICAN.fullmatch(number) is not None

    def accepts(self, reading: Reading) -> str | None:
        if reading.broken and not reading.plus:
            return None
        if not self._fits(reading) or reading.counts_something or reading.lead.hotline:
            return None
        return ("+" if reading.plus else "") + reading.number

    def _fits(self, reading: Reading) -> bool:
        number, sizes = reading.number, reading.sizes
        if reading.plus:
            return _INTERNATIONAL.fullmatch(number) is not None and not _glued(reading)
        if reading.in_a_fraction:
            return False
        if _north_american(reading):
            return not reading.in_a_code
        if reading.in_a_code and not _named(reading):
            return False
        if number.startswith("00") and len(sizes) > 1 and len(number) >= 10 and sizes[0] > 2:
            return _INTERNATIONAL.fullmatch(number) is not None
        return self._named_number(reading)

    @staticmethod
    def _named_number(reading: Reading) -> bool:
        """In whatever groups: a word directly before it or after it says telephone."""
        number = reading.number
        if (
            not reading.alone
            or len(reading.sizes) > 6
            or number[:3] in ("400", "800")
            or number[:4] == "1800"
            or max(reading.sizes) == 1
        ):
            return False
        if _date(reading):
            return False
        return _named(reading)


def _north_american(reading: Reading) -> bool:
    """Between spaces alone only where a word says so."""
    if not _NORTH_AMERICAN.fullmatch(reading.number) or reading.sizes not in ((3, 3, 4), (1, 3, 3, 4)):
        return False
    signs = not set(reading.gaps) <= {" "} or reading.opening < reading.start
    return reading.alone and (signs or _named(reading))


def _named(reading: Reading) -> bool:
    return reading.lead.names_telephone or reading.stretch.follows(_NAMED_AFTER, reading.end)


def _glued(reading: Reading) -> bool:
    """UTC+08001234: the plus sign adds."""
    return reading.stretch.character_before(reading.opening).isdigit()


def _date(reading: Reading) -> bool:
    """2023-11-05 or 05/11/2023."""
    return reading.sizes in ((4, 2, 2), (2, 2, 4)) and ("19" in reading.number or "20" in reading.number)
