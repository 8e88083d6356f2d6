"""Licence plates of mainland China (GA 36): province, letter, five or six characters."""

import re

from services.guard.redaction.shape import Shape, value_of
from services.guard.redaction.stretch import Stretch

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_ONE = "[A-HJ-NP-Za-hj-np-z0-9]"
_PLATE = re.compile(
    rf"[{PROVINCES}] ?[A-HJ-NP-Za-hj-np-z][·. \-]?(?:{_ONE}{{5,6}}|{_ONE}{{4}}[挂学警港澳领])(?![A-Za-z0-9])"
)


def _accepts(match: re.Match[str], stretch: Stretch) -> str | None:
    """Three digits at least, two letters at most; the six of a new-energy car are D or F and digits."""
    mark = re.sub("[^A-Z0-9]", "", match.group().upper())[1:]
    digits = sum(character.isdigit() for character in mark)
    if digits < 3 or len(mark) - digits > 2:
        return None
    if len(mark) == 6 and not re.fullmatch(r"[A-HJK][A-HJ-NP-Z0-9]\d{4}|\d{5}[A-HJK]", mark):
        return None
    return value_of(match)


PLATE = Shape("LICENCE_PLATE", "ga-36", _PLATE, _accepts, screen=f"[{PROVINCES}] ?[A-Za-z]")
