"""Where a long row of short words and numbers may be cut early: what begins before is decided by what is there."""

import re

from services.guard.redaction.stretch import AHEAD

PARTS = (64, 80, 112)  # characters of a row that are looked at together: the fewer the denser it is
SURE = 12  # and so many more must be the stretch's, whose pattern looks ahead
LEAST = PARTS[0] + SURE
_DIGITS = 21  # one more than any number has, so that it is known what stands behind the longest
_SIGNS = 36  # letters and digits: two more than an IBAN has, the longest of what may have gaps
_BORDER = re.compile(r"(?<![(+ ,\n])[ ,\n]")  # a bracket or plus sign belongs to the number behind it
_SIGN = re.compile("[A-Za-z0-9]")
_LETTER = re.compile("[A-Za-z]")


def early_part(text: str, start: int, sure: int, widest: int) -> tuple[int, int] | None:
    """The end of what is looked at of a row that begins at `start`, and a gap up to which it is decided: what begins
    before the gap has its end, and what stands behind that, in this part. `sure`: so many characters are the stretch's.
    `widest`: what a recognizer of one's own may find. None: the row is looked at as every other stretch is."""
    for size in PARTS:
        if sure >= size + SURE and (until := _until(text[start : start + size], size - AHEAD, widest)):
            return start + size, start + until
    return None


def _until(part: str, known: int, widest: int) -> int | None:
    if not part.isascii() or "@" in part or "-----" in part:
        return None
    wanted = _SIGNS if _LETTER.search(part) else _DIGITS
    signs = [match.start() for match in _SIGN.finditer(part, 0, known)]
    if len(signs) < wanted:
        return None
    last = min(signs[-wanted], known - widest)
    borders = [match.start() for match in _BORDER.finditer(part, 0, last + 1)]
    return borders[-1] if borders else None
