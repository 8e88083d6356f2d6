"""Numbers that many invisible characters are strewn into: whatever they are, they are meant not to be found."""

import re

from services.guard.redaction.characters import BREAK
from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

RULE = "open-at-bound"
_SWALLOWED = rf"[0-9 \-._{BREAK}]"
_STREWN = re.compile(rf"[0-9](?:[ \-._]{{0,4}}[0-9])*{BREAK}(?:[ \-._{BREAK}]{{0,99}}[0-9])*")


def _accepts(match: re.Match[str], stretch: Stretch) -> str | None:
    return re.sub("[^0-9]", "", match.group())


HIDDEN = Shape("ACCOUNT_NUMBER", RULE, _STREWN, _accepts, screen=BREAK, goes_on=_SWALLOWED)
