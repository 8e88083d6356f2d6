"""Digits and what stands between them, read as one number, in every way that the groups allow."""

import re
from itertools import pairwise
from typing import Protocol

from services.guard.redaction import said
from services.guard.redaction.characters import CHINESE_DIGITS
from services.guard.redaction.context import (
    ACCOUNT,
    AMOUNT_AFTER,
    AMOUNT_BEFORE,
    CARD,
    HOTLINE,
    IDENTITY,
    NAMED_TELEPHONE,
    SERIAL,
    SSN,
    TELEPHONE,
)
from services.guard.redaction.lazily import lazily
from services.guard.redaction.stretch import Stretch

MOST_DIGITS = 20
_GROUP = re.compile("[0-9]+")
_IN_GAPS = " -._/·|*(),\n+\\"
_LONGEST_GAP = 4
_DIGITS_THEN = re.compile(r"[0-9]([^0-9]*)\Z")
_CENTS = re.compile(r"\.[0-9]{1,2}(?![0-9])")
_OPENING = re.compile(r"(?:\((?:\+ ?)?|\+ ?\(?)\Z")
_LOOSE = frozenset(",\n")
_HEX_OR_CODE = re.compile(r"[0-9a-f]+|[0-9A-Z]{1,6}|[A-Za-z]{1,2}")
_GLUED_BEFORE = re.compile(r"[A-Za-z0-9]*\Z")
_GLUED_AFTER = re.compile(r"[A-Za-z0-9]*")


class Groups:
    """Of digits, in order: where each starts and ends, what stands before it since the one before, and whether that is
    a gap and no more."""

    __slots__ = ("ends", "gaps", "linked", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.gaps: list[str] = []
        self.linked: list[bool] = []

    def add(self, start: int, end: int, gap: str, linked: bool) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.gaps.append(gap)
        self.linked.append(linked)

    def joined(self, place: int) -> bool:
        """To the digits before it, as the groups of one number are."""
        return self.linked[place] and _LOOSE.isdisjoint(self.gaps[place])


class Lead:
    """What stands before a number, whatever its length: looked at once for all readings that begin there."""

    def __init__(self, stretch: Stretch, start: int) -> None:
        self._stretch, self._start = stretch, start

    @lazily
    def opening(self) -> int:
        """Where a bracket or a plus sign before the first digit begins."""
        text, start = self._stretch.text, self._start
        if text[start - 1 : start] not in ("(", "+", " "):
            return start
        match = _OPENING.search(text, max(self._stretch.start, start - 3), start)
        return match.start() if match else start

    @lazily
    def words(self) -> str:
        return self._stretch.before(self.opening)

    @lazily
    def says_telephone(self) -> bool:
        return self._stretch.says(said.TELEPHONE) and TELEPHONE.search(self.words[-24:]) is not None

    @lazily
    def names_telephone(self) -> bool:
        """Directly, and no public hotline."""
        if not self._stretch.says(said.TELEPHONE):
            return False
        return NAMED_TELEPHONE.search(self.words[-30:]) is not None and not self.hotline

    @lazily
    def hotline(self) -> bool:
        return HOTLINE.search(self.words[-16:]) is not None

    @lazily
    def says_card(self) -> bool:
        return self._stretch.says(said.CARD) and CARD.search(self.words[-24:]) is not None

    @lazily
    def says_ssn(self) -> bool:
        return self._stretch.says(said.SSN) and SSN.search(self.words[-32:]) is not None

    @lazily
    def says_identity(self) -> bool:
        return self._stretch.says(said.IDENTITY) and IDENTITY.search(self.words[-24:]) is not None

    @lazily
    def names_account(self) -> bool:
        return self._stretch.says(said.ACCOUNT) and ACCOUNT.search(self.words)

    @lazily
    def counts(self) -> bool:
        """An amount, an order, a time stamp: said directly before."""
        if self._stretch.says(said.SERIAL) and SERIAL.search(self.words):
            return True
        return self._stretch.says(said.AMOUNT) and AMOUNT_BEFORE.search(self.words[-26:]) is not None

    @lazily
    def code(self) -> bool:
        """Letters that are no word are glued to the first digit."""
        text = self._stretch.text
        if not self._start or not (text[self._start - 1].isascii() and text[self._start - 1].isalnum()):
            return False
        glued = _GLUED_BEFORE.search(text, max(0, self._start - 32), self._start)
        return glued is not None and glued.group() != "" and _HEX_OR_CODE.fullmatch(glued.group()) is not None


class Reading:
    """Some groups as one number. `number`: its digits."""

    def __init__(self, stretch: Stretch, groups: Groups, first: int, last: int, number: str, lead: Lead) -> None:
        self.stretch, self.number, self.lead = stretch, number, lead
        self._groups, self._first, self._last = groups, first, last
        self.start, self.end = groups.starts[first], groups.ends[last]

    @lazily
    def gaps(self) -> tuple[str, ...]:
        """What stands between its groups, where something does."""
        if self._first == self._last:
            return ()
        return tuple(filter(None, self._groups.gaps[self._first + 1 : self._last + 1]))

    @lazily
    def sizes(self) -> tuple[int, ...]:
        """Of the groups that separators make."""
        if self._first == self._last:
            return (self.end - self.start,)
        sizes: list[int] = []
        groups = self._groups
        for place in range(self._first, self._last + 1):
            size = groups.ends[place] - groups.starts[place]
            if sizes and not groups.gaps[place]:
                sizes[-1] += size
            else:
                sizes.append(size)
        return tuple(sizes)

    @lazily
    def opening(self) -> int:
        """Where it begins with the bracket or plus sign before its first digit."""
        opening, text = self.lead.opening, self.stretch.text
        if opening == self.start:
            return opening
        if "(" in text[opening : self.start] and ")" not in text[self.start : self.end]:
            return self.start - (text[self.start - 1] == "+")
        return opening

    @property
    def plus(self) -> bool:
        return self.opening < self.start and "+" in self.stretch.text[self.opening : self.start]

    @lazily
    def alone(self) -> bool:
        """No other digits go before or after it, joined as its own groups are."""
        groups, behind = self._groups, self._last + 1
        return not (groups.joined(self._first) or (behind < len(groups.starts) and groups.joined(behind)))

    @property
    def broken(self) -> bool:
        """A comma or a line's end stands inside it."""
        gaps = self.gaps
        return bool(gaps) and not all(map(_LOOSE.isdisjoint, gaps))

    @lazily
    def in_a_code(self) -> bool:
        """Glued to letters that are no word: a hash, a serial number such as SF1380…, a hexadecimal string."""
        if self.lead.code:
            return True
        text, end = self.stretch.text, self.end
        if end >= self.stretch.end or not (text[end].isascii() and text[end].isalnum()):
            return False
        after = _GLUED_AFTER.match(text, end, self.stretch.end)
        word = after.group() if after else ""
        return bool(word) and _HEX_OR_CODE.fullmatch(word) is not None

    @property
    def in_a_fraction(self) -> bool:
        """3.14159265358 or 13800138000.50."""
        text, start = self.stretch.text, self.start
        if start >= 2 and text[start - 1] == "." and text[start - 2].isdigit():
            return True
        return text[self.end : self.end + 1] == "." and _CENTS.match(text[self.end : self.end + 4]) is not None

    @property
    def counts_something(self) -> bool:
        """An amount, an order, a time stamp: said directly before it or after it."""
        return self.lead.counts or self.stretch.follows(AMOUNT_AFTER, self.end)


class NumberShape(Protocol):
    """A class of numbers, by how many digits it has. `accepts` gives the plain form."""

    @property
    def entity(self) -> str: ...

    @property
    def rule(self) -> str: ...

    @property
    def lengths(self) -> tuple[int, ...]: ...

    @property
    def beginnings(self) -> str | None:
        """The digits that one may begin with; None: any."""
        ...

    @property
    def alone(self) -> bool:
        """It never stands among other digits that are joined to it."""
        ...

    @property
    def opens(self) -> bool:
        """A bracket or plus sign before the first digit belongs to it."""
        ...

    def may_be(self, number: str, stretch: Stretch, end: int) -> bool:
        """Whether the digits, which end at `end`, can be one at all: asked before it is known how they are grouped."""
        ...

    def accepts(self, reading: Reading) -> str | None: ...


def groups_of(stretch: Stretch) -> Groups:
    """In order. Where digits change their script a group ends; so do the first and the last Chinese one of a group,
    because 一 and 二 also begin words."""
    base, text, found = stretch.start, stretch.text, Groups()
    for match in _GROUP.finditer(stretch.numerals):
        start, end = match.span()
        start, end = start + base, end + base
        if start == base and start and text[start - 1].isdigit():
            continue  # the rest of a number that began before
        if end == stretch.end and not stretch.whole:
            break  # the beginning of one that goes on
        gap = text[found.ends[-1] : start] if found.ends else _gap_before(text, start)
        linked = len(gap) <= _LONGEST_GAP and not gap.strip(_IN_GAPS)
        if stretch.has_chinese_digits:
            _split(text, start, end, gap, linked, found)
        else:
            found.add(start, end, gap, linked)
    return found


def _gap_before(text: str, start: int) -> str:
    """Between the first group of a stretch and digits before it: a row is looked at in parts."""
    before = text[max(0, start - 5) : start]
    if before.isalpha():  # most often
        return "?"
    gap = _DIGITS_THEN.search(before)
    return gap[1] if gap else "?"


def _split(text: str, start: int, end: int, gap: str, linked: bool, found: Groups) -> None:
    cuts = {start, end}
    for at in range(start, end):
        chinese = text[at] in CHINESE_DIGITS
        if at > start and chinese != (text[at - 1] in CHINESE_DIGITS):
            cuts.add(at)
        if chinese and (at == start or text[at - 1] not in CHINESE_DIGITS):
            cuts.add(at + 1)
        if chinese and (at + 1 == end or text[at + 1] not in CHINESE_DIGITS):
            cuts.add(at)
    for a, b in pairwise(sorted(cuts)):
        found.add(a, b, gap if a == start else "", linked if a == start else True)
