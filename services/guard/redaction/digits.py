"""A run of digits in any writing, and the ways of reading a number that starts at its first digit."""

import re
from itertools import accumulate
from typing import NamedTuple

from services.guard.redaction.characters import DIGIT, DIGIT_CLASSES, digit_value
from services.guard.redaction.finding import Window

MOST_DIGITS = 25  # one more than any number looked for, so that a longer run is seen to be longer
RAW_BOUND = 128  # characters a run may stretch over, invisible ones included; an open run is masked there
VISIBLE_BOUND = 64  # the same without the invisible ones; a run that is still open there is no number

GLUED_WITHIN = 16  # characters back in which the digit before is looked for, past invisible ones

# Between two digits: at most four separators, any number of invisible characters.
_GAP = r"z*+(?:[ \-._s()n,]z*+){0,4}+"
_RUN = re.compile(rf"[{DIGIT}](?:{_GAP}[{DIGIT}]){{0,{MOST_DIGITS - 1}}}+")
_GAP_ONLY = re.compile(_GAP)
_GROUP, _UNEVEN = re.compile("[0-9]+"), re.compile("[a-jz]")

_SHORT_LIMIT = 10
_SHORT = re.compile(rf"[{DIGIT}](?:{_GAP}[{DIGIT}]){{0,{_SHORT_LIMIT - 1}}}+({_GAP})")
_DIGIT_VALUES = {kind: digit_value(kind) for kind in DIGIT_CLASSES}
_DIGITS = frozenset(DIGIT_CLASSES)
_VALUES = {ord(kind): None for kind in " -._s()n,z"} | {ord("a") + value: str(value) for value in range(10)}

# The rest of a group whose first digits have been looked at.
REST_OF_GROUP = re.compile(rf"[0-9](?:z{{0,{GLUED_WITHIN - 1}}}+[0-9])*+")

# From here on a number may start; a bracket or plus sign before its first digit belongs to it.
_START = rf"(?:\(z{{0,8}}+)?+(?:\+z{{0,8}}+)?+([{DIGIT}])"
START = re.compile(_START)
# The same where no invisible character is, without the many runs that are too short for any number and end for certain.
_ENOUGH = rf"(?:{_GAP}[{DIGIT}]){{{_SHORT_LIMIT}}}"
LONG_START = re.compile(rf"{_START}(?:{_ENOUGH}|(?:{_GAP}[{DIGIT}])*+{_GAP}\Z)")
LONG_RUN = re.compile(rf"[{DIGIT}]{_ENOUGH}")
UNFINISHED_START = re.compile(r"(?:\(z{0,8}+(?:\+z{0,8}+)?+|\+z{0,8}+)\Z")


class Digit(NamedTuple):
    value: str
    at: int
    chinese: bool
    gap: str  # class letters of what stands before it, without invisible ones; empty for the first


class Run(NamedTuple):
    """Digits from one start on, at most MOST_DIGITS, with what stands between them.

    `open`: the window ends before the run does. `at_bound`: it reaches VISIBLE_BOUND or RAW_BOUND unfinished.
    `hiding`: it does so because invisible characters stretch it."""

    start: int
    kinds: str
    number: str
    open: bool
    at_bound: bool
    hiding: bool

    @property
    def end(self) -> int:
        return self.start + len(self.kinds)

    def ending(self, lengths: list[int]) -> list[int]:
        """Those of the lengths after which a group of digits may end. Leaves in what `digits` are needed to tell."""
        if not lengths or _UNEVEN.search(self.kinds):
            return lengths
        ends = set(accumulate(map(len, _GROUP.findall(self.kinds))))
        return [length for length in lengths if length in ends]

    def digits(self) -> tuple[Digit, ...]:
        found: list[Digit] = []
        gap = ""
        for at, kind in enumerate(self.kinds, self.start):
            value = _DIGIT_VALUES.get(kind)
            if value is not None:
                found.append(Digit(value, at, kind >= "a", gap))
                gap = ""
            elif kind != "z":
                gap += kind
        return tuple(found)


def too_short(window: Window, start: int, digits: int) -> int | None:
    """Where a run ends for certain that has fewer digits than `digits` (eleven). The usual case, decided at once."""
    assert digits == _SHORT_LIMIT + 1, "the pattern counts to ten"
    match = _SHORT.match(window.kinds, start)
    if match is None or match.end() - start >= VISIBLE_BOUND or match.end() == len(window):
        return None
    return None if window.kinds[match.end()] in _DIGITS else match.start(1)


def read_run(window: Window, start: int) -> Run:
    """`start` is the place of a digit."""
    bound, hiding = _bound(window.kinds, start)
    limit = min(len(window), bound)
    match = _RUN.match(window.kinds, start, limit)
    assert match is not None, "a run is read where a digit stands"
    number = match.group().translate(_VALUES)
    trailing = _GAP_ONLY.match(window.kinds, match.end(), limit)
    unfinished = len(number) < MOST_DIGITS and trailing is not None and trailing.end() == limit
    at_bound = unfinished and limit == bound
    still_open = unfinished and not at_bound and not window.ended
    return Run(start, match.group(), number, still_open, at_bound, at_bound and hiding)


def _bound(kinds: str, start: int) -> tuple[int, bool]:
    """Where a run from `start` must have ended, and whether that is the bound for invisible characters."""
    if "z" not in kinds[start : start + VISIBLE_BOUND]:
        return start + VISIBLE_BOUND, False
    visible = 0
    for place, kind in enumerate(kinds[start : start + RAW_BOUND], start):
        visible += kind != "z"
        if visible == VISIBLE_BOUND:
            return place + 1, False
    return start + RAW_BOUND, True


class Reading(NamedTuple):
    """The first `length` digits of a run, read as one number."""

    digits: tuple[Digit, ...]

    @property
    def number(self) -> str:
        return "".join(digit.value for digit in self.digits)

    @property
    def end(self) -> int:
        return self.digits[-1].at + 1

    @property
    def gaps(self) -> tuple[str, ...]:
        return tuple(digit.gap for digit in self.digits[1:] if digit.gap)

    def groups(self, skipping: int = 0) -> tuple[int, ...]:
        """Sizes of the groups that separators make, without the first `skipping` digits."""
        sizes = [0]
        for place, digit in enumerate(self.digits[skipping:]):
            if place and digit.gap:
                sizes.append(0)
            sizes[-1] += 1
        return tuple(sizes)


def ends_a_group(run: Run, digits: tuple[Digit, ...], length: int) -> bool:
    """Whether a number of that length would end where the writer ended a group of digits.

    A change of script ends one too (13800138000一直…), and so does the last but one of a Chinese group, because 一 and
    二 also start words."""
    if length == len(digits):
        return not run.at_bound
    following = digits[length]
    if following.gap or following.chinese != digits[length - 1].chinese:
        return True
    after = digits[length + 1] if length + 1 < len(digits) else None
    return following.chinese and (after is None or bool(after.gap) or not after.chinese)


def starts_a_group(window: Window, at: int) -> bool:
    """The same for the first digit, looking back."""
    before = _previous_digit(window.kinds, at)
    if before is None:
        return True
    chinese = window.kinds[at].isalpha()
    if window.kinds[before].isalpha() != chinese:
        return True
    if not chinese:
        return False
    earlier = _previous_digit(window.kinds, before)
    return earlier is None or not window.kinds[earlier].isalpha()


def digit_stands_before(window: Window, at: int) -> bool:
    """Whether the number at `at` goes on a longer list of digit groups."""
    kinds = window.kinds
    seps = 0
    for place in range(at - 1, max(-1, at - GLUED_WITHIN - 1), -1):
        kind = kinds[place]
        if kind in _DIGITS:
            return True
        if kind in " -._s":
            seps += 1
            if seps > 4:
                return False
        elif kind != "z":
            return False
    return False


def _previous_digit(kinds: str, at: int) -> int | None:
    """The digit glued to `at`, with nothing but invisible characters between."""
    for place in range(at - 1, max(-1, at - GLUED_WITHIN - 1), -1):
        if kinds[place] in _DIGITS:
            return place
        if kinds[place] != "z":
            return None
    return None
