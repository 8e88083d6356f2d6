"""Dates of birth: a date that a word says somebody was born on."""

import re

from services.guard.redaction import said
from services.guard.redaction.context import BIRTH
from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

_D = "〇零○一二三四五六七八九"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DATE = re.compile(
    rf"(?<![0-9])(?:(?:19|20)\d\d ?[年\-/.] ?\d{{1,2}}(?: ?[月\-/.] ?\d{{1,2}} ?日?)?|(?:19|20)\d{{6}}(?![0-9])"
    rf"|\d{{1,2}}[\-/.]\d{{1,2}}[\-/.](?:19|20)?\d\d(?![0-9])|\d\d年\d{{1,2}}月(?:\d{{1,2}}日)?"
    rf"|[{_D}]{{4}}年[{_D}十]{{1,3}}月(?:[{_D}十]{{1,3}}日)?"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d\d|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH},? (?:19|20)\d\d)",
    re.IGNORECASE,
)
_SHORTEST = 5  # characters of a date: 90年3月
_AFTER = re.compile(r"[ ,]{0,2}(?:出生|生(?![产效成意活])|born)")


def _accepts(match: re.Match[str], stretch: Stretch) -> str | None:
    return match.group() if BIRTH.search(stretch.before(match.start(), 28)) else None


def _born_after(match: re.Match[str], stretch: Stretch) -> str | None:
    """1990年3月7日出生: the word comes behind it."""
    return match.group() if _AFTER.match(stretch.after(match.end(), 6)) else None


BIRTH_DATES = (
    Shape("DATE_OF_BIRTH", "birth-word", _DATE, _accepts, said=said.BIRTH, least=_SHORTEST),
    Shape("DATE_OF_BIRTH", "birth-word", _DATE, _born_after, screen="年"),
)
