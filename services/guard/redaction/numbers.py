"""Finds mobile numbers and bank cards in a window of text, deciding each where the text itself decides it."""

import re
from collections.abc import Callable

from services.guard.redaction import card, mobile
from services.guard.redaction.characters import DIGIT, IGNORED, escape_length
from services.guard.redaction.digits import (
    LONG_START,
    RAW_BOUND,
    REST_OF_GROUP,
    START,
    UNFINISHED_START,
    Digit,
    Reading,
    Run,
    digit_stands_before,
    ends_a_group,
    read_run,
    starts_a_group,
    too_short,
)
from services.guard.redaction.finding import Span, Window
from services.guard.redaction.masking import Masking
from services.guard.redaction.overlong import Overlong
from services.guard.redaction.surroundings import Surroundings, amount_follows, code_follows

_SWALLOWED = re.compile(rf"[{DIGIT}z \-._s]*+")


class _Undecided(Exception):
    """The window ends before the decision does."""


class NumberDetector:
    """Decides candidates from left to right. What it decides about a start depends on LOOK_BEHIND characters before it
    and on what follows up to a terminator the text contains, never on where the window happens to end."""

    def __init__(self, mobile_masking: Masking, card_masking: Masking) -> None:
        self.settled = 0
        self._mobile = mobile_masking
        self._card = card_masking
        self._overlong: Overlong | None = None

    def shift(self, count: int) -> None:
        self.settled -= count
        if self._overlong:
            self._overlong.shift(count)

    def advance(self, window: Window) -> list[Span]:
        spans: list[Span] = []
        while True:
            if self._overlong:
                piece = self._overlong.next_piece(window, self.settled)
                if piece is None:
                    return spans
                spans.append(piece)
                self.settled = piece.end
                if piece.complete:
                    self._overlong = None
                continue
            pattern = START if IGNORED in window.kinds else LONG_START
            start = pattern.search(window.kinds, self.settled)
            if start is None:
                tail = None if window.ended else UNFINISHED_START.search(window.kinds, self.settled)
                self.settled = tail.start() if tail else len(window)
                return spans
            self.settled = start.start()
            try:
                self._decide(window, start.start(), start.start(1), spans)
            except _Undecided:
                return spans

    def _decide(self, window: Window, opening: int, first: int, spans: list[Span]) -> None:
        """Moves `settled` past a candidate, or raises _Undecided and leaves it before."""
        short = too_short(window, first, mobile.SHORTEST)
        if short is not None:
            self.settled = short
            return
        if not starts_a_group(window, first):
            rest = REST_OF_GROUP.match(window.kinds, first)
            self.settled = rest.end() if rest else first + 1
            return
        run = read_run(window, first)
        if run.open:
            raise _Undecided
        if run.hiding:
            masking = self._mobile if mobile.might_start(run.number[:4]) else self._card
            self._overlong = Overlong(opening, first + RAW_BOUND, masking, _SWALLOWED)
            return
        if not run.at_bound and len(run.number) < mobile.SHORTEST:
            self.settled = run.end
            return
        span = self._judge(window, opening, run)
        if span is None:
            self.settled = first + 1
        else:
            spans.append(span)
            self.settled = span.end

    def _judge(self, window: Window, opening: int, run: Run) -> Span | None:
        """The longest card number that starts here, else the longest mobile number."""
        digits: tuple[Digit, ...] = ()
        around = Surroundings(window, opening)
        plus = "+" in window.kinds[opening : run.start]
        for masking, lengths, rule in (
            (self._card, card.fitting(run.number), "luhn-issuer"),
            (self._mobile, mobile.fitting(run.number), "mainland-mobile"),
        ):
            for length in run.ending(lengths):
                digits = digits or run.digits()
                if not ends_a_group(run, digits, length):
                    continue
                reading = Reading(digits[:length])
                alone = length == len(digits) and not digit_stands_before(window, opening)
                if masking is self._card:
                    named = around.names_card
                    number = card.plain_number(reading, named=named, alone=alone)
                else:
                    named = around.names_telephone
                    number = mobile.plain_number(reading, plus=plus, named=named, alone=alone)
                if number and self._stands_free(window, opening, reading, around, named=named):
                    return self._span(window, opening, reading, masking, number, rule)
        return None

    @staticmethod
    def _stands_free(window: Window, opening: int, reading: Reading, around: Surroundings, *, named: bool) -> bool:
        """Neither an amount, nor part of a code, a decimal fraction or an order number."""
        if around.names_something_else:
            return False
        checks: list[Callable[[Window, int], bool | None]] = [amount_follows]
        if not named:
            if around.part_of_a_code or _fraction_before(window, opening):
                return False
            checks += [code_follows, _fraction_after]
        answers = [check(window, reading.end) for check in checks]
        if True in answers:
            return False
        if None in answers:
            raise _Undecided
        return True

    @staticmethod
    def _span(window: Window, opening: int, reading: Reading, masking: Masking, number: str, rule: str) -> Span:
        start = opening
        kinds = window.kinds[opening : reading.end]
        if kinds.startswith("(") and ")" not in kinds:
            start += len(kinds) - len(kinds[1:].lstrip("z"))
        end = reading.end - 1 + escape_length(window.text, reading.end - 1)
        return Span(masking.entity, start, end, masking.mask(number), rule, start)


def _fraction_before(window: Window, opening: int) -> bool:
    """3.14159265358: digits and a point directly before."""
    return opening >= 2 and window.kinds[opening - 1] == "." and window.kinds[opening - 2].isdigit()


def _fraction_after(window: Window, end: int) -> bool | None:
    """13800138000.50: a point and one or two digits, and then no more."""
    tail = window.kinds[end : end + 4]
    if tail and tail[0] != ".":
        return False
    digits = len(tail[1:]) - len(tail[1:].lstrip("0123456789"))
    if 1 + digits >= len(tail) and len(tail) < 4 and not window.ended:
        return None
    return 1 <= digits <= 2
