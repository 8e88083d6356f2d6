"""Passports and travel permits: a letter and digits, which only a word beside them tells from any other code."""

import re

from services.guard.redaction import said
from services.guard.redaction.context import PASSPORT, PERMIT
from services.guard.redaction.shape import Shape, value_of
from services.guard.redaction.stretch import Stretch

_NEAR = 32
_PASSPORT = re.compile(
    r"(?<![0-9A-Za-z])(?:[EGeg] ?\d{8}|[Ee][A-HJ-NP-Za-hj-np-z] ?\d{7}|[DSPdsp][Ee]? ?\d{7,8}|[A-Za-z]{1,2} ?\d{6,8}"
    r"|\d{8,9})(?![0-9A-Za-z])",
    re.ASCII,
)
_GROUPED = re.compile(r"(?<![0-9A-Za-z])[EGeg][A-Za-z]?(?:[ \-]?\d){7,8}(?![0-9A-Za-z])", re.ASCII)
_PERMIT = re.compile(
    r"(?<![0-9A-Za-z])(?:[HMhm][ \-]?\d{8}(?:[ \-]?\d{2})?|[CWcw][A-Za-z]?[ \-]?\d{7,8}|[TLtl][ \-]?\d{8}"
    r"|\d{8}(?:\d{2})?)(?![0-9A-Za-z])",
    re.ASCII,
)
_PASSPORT_WORD_NEAR = re.compile(
    r"(?:护照|護照|(?<![a-z])passport)[^0-9]{0,20}$|(?:护照|passport)(?: ?(?:no|number))?.{0,12}$"
)
_HONGKONG = re.compile(r"(?<![0-9A-Za-z])([A-Z]{1,2})(\d{6})\(([0-9A])\)", re.ASCII)


def _passport(match: re.Match[str], stretch: Stretch) -> str | None:
    before = stretch.before(match.start(), _NEAR)
    digits_only = match.group()[0].isdigit()
    if digits_only or match.group()[0] not in "EGegDSPdsp":
        return value_of(match) if _PASSPORT_WORD_NEAR.search(before) and not _date(match.group()) else None
    return value_of(match) if PASSPORT.search(before) else None


def _permit(match: re.Match[str], stretch: Stretch) -> str | None:
    before = stretch.before(match.start(), _NEAR)
    if PERMIT.search(before) is None or (_date(match.group()) and "证" not in before[-8:]):
        return None
    return value_of(match)


def _date(digits: str) -> bool:
    """20150211"""
    return len(digits) == 8 and digits[:2] in ("19", "20") and "01" <= digits[4:6] <= "12" and digits[6:] <= "31"


TRAVEL = (
    Shape("TRAVEL_PERMIT", "permit", _PERMIT, _permit, said=said.PERMIT, digits=7),
    Shape("PASSPORT_NUMBER", "passport", _PASSPORT, _passport, said=said.PASSPORT, digits=6),
    Shape("PASSPORT_NUMBER", "passport", _GROUPED, _passport, said=said.PASSPORT, digits=7),
)
