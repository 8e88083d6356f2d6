"""IBANs (ISO 13616), and BICs (ISO 9362) that stand in somebody's payment details."""

import re
from typing import ClassVar

from services.guard.redaction import said
from services.guard.redaction.context import PAYEE, SWIFT
from services.guard.redaction.finding import Match
from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

# Country and length, from the registry of ISO 13616.
_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 "
    "EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 "
    "KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 "
    "PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 "
    "VA22 VG24 XK20 YE30"
)
_LENGTHS = {item[:2]: int(item[2:]) for item in _REGISTRY.split()}
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[ \-]?\d\d(?:[ \-.]{0,2}[0-9A-Za-z]){11,30}", re.ASCII)
_SEPARATED = re.compile(r"[ \-.]")
_BIC = re.compile(r"(?<![0-9A-Za-z])[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?(?![0-9A-Za-z])", re.ASCII)


def _checks(iban: str) -> bool:
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


class _Iban:
    """As long as its country says, whatever stands behind it."""

    entity: ClassVar[str] = "IBAN"
    screen: ClassVar[str] = f"(?i)(?:{'|'.join(_LENGTHS)})[ -]?[0-9]{{2}}"
    said: ClassVar[int] = 0
    least: ClassVar[int] = 15
    digits: ClassVar[int] = 8

    def find(self, stretch: Stretch) -> list[Match]:
        found: list[Match] = []
        at = stretch.start
        while match := _IBAN.search(stretch.text, at, stretch.end):
            end = _end(match, stretch)
            at = end or match.start() + 1
            if end:
                value = _SEPARATED.sub("", stretch.text[match.start() : end]).upper()
                found.append(Match("IBAN", match.start(), end, value, "iso-13616"))
        return found


def _end(match: re.Match[str], stretch: Stretch) -> int | None:
    length = _LENGTHS.get(match.group()[:2].upper())
    if length is None:
        return None
    text, end, count = stretch.text, match.start(), 0
    while count < length and end < match.end():
        count += text[end].isalnum()
        end += 1
    following = text[end : end + 1]
    if count < length or (following.isascii() and following.isalnum()):
        return None
    return end if _checks(_SEPARATED.sub("", text[match.start() : end]).upper()) else None


def _bic(match: re.Match[str], stretch: Stretch) -> str | None:
    """A bank's code says nothing of a person by itself: it counts beside an account or a payee."""
    before = stretch.before(match.start())
    named = SWIFT.search(before[-24:]) is not None
    return match.group() if named and PAYEE.search(before[:-8]) else None


BANKING = (_Iban(), Shape("SWIFT_CODE", "iso-9362", _BIC, _bic, least=8, said=said.SWIFT))
