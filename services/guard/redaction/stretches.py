"""Cuts a text into the stretches that recognizers look at, at places that the text itself gives."""

import re
from typing import Final

from services.guard.redaction.characters import BREAK, CHINESE_DIGITS
from services.guard.redaction.charset import Charset
from services.guard.redaction.email import CHINESE_TOPS
from services.guard.redaction.finding import Detector, Match, Span
from services.guard.redaction.overlong import Overlong
from services.guard.redaction.plate import PROVINCES
from services.guard.redaction.rows import LEAST, early_part
from services.guard.redaction.stretch import Stretch, Undecided
from services.guard.redaction.table import Table
from services.guard.redaction.window import Window

FRAME: Final = 224  # characters of a stretch that are looked at together
# Of a longer one, what begins within so many is decided; no match but an open one is longer than the rest.
STRIDE: Final = 112
EDGE: Final = 12  # a stretch that comes so near to FRAME may go on: more than any look-ahead of the pattern below
WORD: Final = 96  # characters that a stretch may begin before what makes it worth looking at: a mailbox

_D = CHINESE_DIGITS
_SIGNS = "@._%+-'()/:·|*=&?#$!~^"
_TIGHT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + _SIGNS + _D

# What makes a stretch worth looking at: nothing is found where none of these is. A digit or @; Chinese digits; a bank's
# code; a key's first line, unless what it begins with is one. One set comes first, so that all else is passed over.
_TRIGGER: Final = re.compile(
    rf"[0-9@{_D}A-Z\-](?:(?<=[0-9@])|(?<=[{_D}])[{_D}]{{2}}"
    r"|(?<=[A-Z])[A-Z]{7}(?<![A-Za-z0-9].{8})(?:[A-Z]{3})?(?![A-Za-z])"
    r"|(?<=-)----BEGIN(?!(?:[A-Z]{3}){1,2}(?![A-Za-z])))"
)

_MAY_TRIGGER: Final = Charset(rf"0-9@{_D}A-Z\-")
_CAPITALS: Final = Charset("A-Z")
_CODE: Final = 8  # capitals that a bank's code has at least

_WIDE_DOMAIN = rf"@(?: ?(?:[^\W_][\w\-]{{0,23}}+[.。]){{1,4}}(?:{CHINESE_TOPS}|[A-Za-z]{{2,24}}+))"
# Nothing follows the outer group, so it need not be possessive; Python before 3.11.5 gets possessive groups wrong whose
# inside backtracks (gh-106052), and let go of the last digit of a number.
_STRETCH: Final = re.compile(
    rf"(?:[{PROVINCES}] ?)?(?:{_WIDE_DOMAIN}|[A-Za-z0-9{re.escape(_SIGNS.replace('@', ''))}]++|@"
    rf"|[{_D}]{{2,}}+|(?<=[0-9])[{_D}]|[{_D}](?=[0-9])"
    rf"|[ ,\n\\]{{1,4}}+(?=[0-9]|[(+\-./·|*]{{1,2}} ?[0-9]|[{_D}]{{3}})"  # before digits
    rf"|(?<=[0-9])[ ,\n]{{1,4}}+(?=[A-Za-z])|(?<=[A-Z]) (?=[A-Z])| (?=@)"
    rf"|(?<=[0-9{BREAK}]){BREAK}"
    rf"|(?<=-----)\n{{1,2}}(?=[A-Za-z0-9+/])"
    rf"|(?<=[0-9{_D}十])[年月日]|[{_D}十]{{1,3}}(?=[月日])|(?<=[0-9A-Z])[挂学警港澳领])*"
)
# Behind the end of such a stretch, more text could still make it longer.
_MAY_GO_ON: Final = re.compile(rf"[ ,\n\\]{{0,4}}(?:[(+\-./·|*]{{1,2}} ?|[{_D}十]{{1,3}})?\Z")
_MAY_BE_DOMAIN: Final = re.compile(r" ?(?:[\w\-]{1,24}[.。]){0,4}[\w\-]{0,24}\Z")
_IN_A_WORD: Final = Charset(re.escape(_TIGHT))
_PLATE_HEAD: Final = re.compile(rf"[{PROVINCES}] ?(?:[A-Z] )?\Z")
_ENDS_OF_PLATE_HEADS: Final = f"{PROVINCES} "
_MONTHS: Final = frozenset(re.findall("...", "janfebmaraprmayjunjulaugsepoctnovdec"))
_FEW: Final = 4  # fewer characters are nothing that any recognizer finds
_LONGEST_DOMAIN = 4 * 25 + 26


class Stretches(Detector):
    """A detector that has every stretch worth it looked at by the recognizers, from left to right."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._overlong: Overlong | None = None

    def shift(self, count: int) -> None:
        super().shift(count)
        if self._overlong:
            self._overlong.shift(count)

    def advance(self, window: Window) -> list[Span]:
        spans: list[Span] = []
        text = window.plain
        while True:
            if self._overlong:
                piece = self._overlong.next_piece(window)
                if piece is None:
                    return spans
                spans.append(piece)
                self.settled = piece.end
                if piece.complete:
                    self._overlong = None
                continue
            at = next_trigger(text, self.settled)
            if at is None:
                self.settled = len(text) if window.ended else self._beginning(text, len(text))
                return spans
            start = self._beginning(text, at)
            stretch = cut(text, start, ended=window.ended, widest=self._table.widest)
            if stretch is None or not self._decide(window, stretch, spans):
                self.settled = start
                return spans

    def _decide(self, window: Window, stretch: Stretch, spans: list[Span]) -> bool:
        """Moves `settled` past a stretch; False where what follows it is needed and not there yet."""
        try:
            matches = find(self._table, stretch)
        except Undecided:
            return False
        end = stretch.end if stretch.whole else stretch.until
        for match in matches:
            origin = window.raw_start(match.start)
            if match.goes_on:
                self._overlong = Overlong(match, origin, match.end)
                self.settled = match.start
                return True
            spans.append(Span(match.entity, match.start, match.end, match.value, match.rule, origin))
            end = max(end, match.end)
        self.settled = end
        return True

    def _apart(self, word: str, sign: str) -> bool:
        """An ordinary word before a space and a number has no part in it, with a colon or without: no class has more
        than two letters there but a date, and what a firm brings along."""
        if sign == "@" or self._table.widest:
            return False
        word = word.removesuffix(":")
        return len(word) >= 3 and word.isascii() and word.isalpha() and word[:3].lower() not in _MONTHS

    def _beginning(self, text: str, at: int) -> int:
        """Where a stretch begins that has a trigger at `at`: with the word before it, or a plate's province."""
        low = max(self.settled, at - WORD)
        spaced = at - 1 if at > low and text[at - 1] == " " else at
        begins = _IN_A_WORD.begin(text, low, spaced)
        if begins == spaced or (spaced < at < len(text) and self._apart(text[begins:spaced], text[at])):
            begins = at
        if begins == low or text[begins - 1] not in _ENDS_OF_PLATE_HEADS:
            return begins
        plate = _PLATE_HEAD.search(text, max(low, begins - 4), begins)
        return plate.start() if plate else begins


def next_trigger(text: str, start: int) -> int | None:
    """Words that begin with a capital, which most texts have, are passed over before the pattern is asked."""
    size = len(text)
    while (start := _MAY_TRIGGER.first(text, start, size)) < size:
        character = text[start]
        if character.isdecimal() or character == "@":
            return start
        behind = _CAPITALS.past(text, start, size)
        if behind == start or behind - start >= _CODE:
            match = _TRIGGER.search(text, start)
            return match.start() if match else None
        start = behind
    return None


def cut(text: str, start: int, *, ended: bool, widest: int = 0) -> Stretch | None:
    """The stretch that begins at `start`; None where the window ends before it is known."""
    limit = start + FRAME
    match = _STRETCH.match(text, start, limit)
    end = max(match.end() if match else start, start + 1)
    if end - start >= LEAST and (part := early_part(text, start, end - start, widest)):
        return Stretch(text, start, *part, whole=False, ended=ended)
    whole = end < limit - EDGE
    if whole and not ended and len(text) < limit and _may_go_on(text, start, end):
        return None
    if not whole and len(text) < limit and not ended:
        return None
    return Stretch(text, start, end, end if whole else start + STRIDE, whole=whole, ended=ended)


def _may_go_on(text: str, start: int, end: int) -> bool:
    if len(text) - end <= EDGE and _MAY_GO_ON.match(text, end):
        return True
    at = text.rfind("@", start, end)
    return at >= 0 and len(text) - at <= _LONGEST_DOMAIN and _MAY_BE_DOMAIN.match(text, at + 1) is not None


def find(table: Table, stretch: Stretch) -> list[Match]:
    """What the recognizers find, in order and without overlap; of two that begin together the longer one, and of two
    alike the one whose recognizer comes first. An open match ends the list."""
    matches: list[Match] = []
    if len(stretch.content) < _FEW:
        return matches
    for recognizer in table.fitting(stretch):
        found = recognizer.find(stretch)
        if found:
            matches += found
    if not matches:
        return matches
    if not stretch.whole:
        matches = [match for match in matches if match.start < stretch.until]
    if len(matches) > 1:
        matches.sort(key=lambda match: (match.start, -match.end))
    kept: list[Match] = []
    reach = -1
    for match in matches:
        if match.end <= reach:
            continue
        if match.start < reach:  # the rest of one that another covers in part
            match.start = reach
        kept.append(match)
        reach = match.end
        if match.goes_on:
            break
    return kept
