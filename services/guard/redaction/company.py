"""Unified social credit codes (GB 32100): registrar, kind, region, organisation (GB 11714), check character."""

import re

from services.guard.redaction.context import SERIAL
from services.guard.redaction.resident import PROVINCES
from services.guard.redaction.shape import Shape, value_of
from services.guard.redaction.stretch import Stretch

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
# Who registers, and what: the pairs that the standard assigns.
_KINDS = frozenset(re.findall("..", "11121319212931323334353941495152535455596162697172798189919293A1A9N1N2N3N9Y1"))
# Kind and region begin it, so that few others are tried.
_CODE = re.compile(
    r"(?<![0-9A-Za-z])[1-9ANYany][ \-.]?[1-59][ \-.]?[1-9][ \-.]?[0-9]"
    r"(?:[ \-.]?[0-9A-HJ-NP-RT-UW-Ya-hj-np-rt-uw-y]){14}(?![0-9A-Za-z])"
)
_NAMED = re.compile("信用代码|统一代码|社会信用|税号|纳税人|(?<![a-z])(?:uscc|usci|credit code|tax)")
_PAIR = re.compile(r"[ \-.]?".join(["[0-9A-Za-z]"] * 2))


def _accepts(match: re.Match[str], stretch: Stretch) -> str | None:
    code = value_of(match)
    if code[:2] not in _KINDS or code[2:4] not in PROVINCES | {"10"} or not _checks(code):
        return None
    if not any(character.isalpha() for character in code):  # an order number may pass the check: one in 31
        before = stretch.before(match.start(), 32)
        return code if _NAMED.search(before) or (_organisation_checks(code) and not SERIAL.search(before)) else None
    return code


def _checks(code: str) -> bool:
    total = sum(weight * _ALPHABET.index(character) for weight, character in zip(_WEIGHTS, code))
    return _ALPHABET[-total % 31] == code[17]


def _organisation_checks(code: str) -> bool:
    total = sum(w * int(c, 36) for w, c in zip(_ORGANISATION_WEIGHTS, code[8:16]))
    return "0123456789X0"[-total % 11] == code[16]


COMPANY = Shape("USCC", "gb-32100", _CODE, _accepts, least=18, digits=8)
