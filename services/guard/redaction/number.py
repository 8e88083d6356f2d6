"""Digits and what stands between them, read as one number, in every way that the groups allow."""

import re
from itertools import pairwise
from typing import Protocol

from services.guard.redaction.characters import CHINESE_DIGITS
from services.guard.redaction.context import AMOUNT_AFTER
from services.guard.redaction.lead import HEX_OR_CODE, Lead
from services.guard.redaction.stretch import Stretch

MOST_DIGITS = 20
_GROUP = re.compile("[0-9]+")
_IN_GAPS = " -._/·|*(),\n+\\"
_LONGEST_GAP = 4
_DIGITS_THEN = re.compile(r"[0-9]([^0-9]*)\Z")
_CENTS = re.compile(r"\.[0-9]{1,2}(?![0-9])")
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
        return self.linked[place] and not _loose(self.gaps[place])

    def sizes(self, first: int, last: int) -> tuple[int, ...]:
        """Of those from `first` to `last`, what nothing separates counted together."""
        sizes: list[int] = []
        for place in range(first, last + 1):
            size = self.ends[place] - self.starts[place]
            if sizes and not self.gaps[place]:
                sizes[-1] += size
            else:
                sizes.append(size)
        return tuple(sizes)


def _loose(gap: str) -> bool:
    return "," in gap or "\n" in gap


class Reading:
    """Some groups as one number. `number`: its digits."""

    def __init__(self, stretch: Stretch, groups: Groups, first: int, last: int, number: str, lead: Lead) -> None:
        self.stretch, self.number, self.lead = stretch, number, lead
        self._groups, self._first, self._last = groups, first, last
        self.start, self.end = groups.starts[first], groups.ends[last]
        self._gaps: tuple[str, ...] | None = None
        self._sizes: tuple[int, ...] | None = None

    @property
    def gaps(self) -> tuple[str, ...]:
        """What stands between its groups, where something does."""
        if self._gaps is None:
            between = self._groups.gaps[self._first + 1 : self._last + 1]
            self._gaps = tuple([gap for gap in between if gap])
        return self._gaps

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the groups that separators make."""
        if self._sizes is None:
            single = self._first == self._last
            self._sizes = (self.end - self.start,) if single else self._groups.sizes(self._first, self._last)
        return self._sizes

    @property
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

    @property
    def alone(self) -> bool:
        """No other digits go before or after it, joined as its own groups are."""
        groups, behind = self._groups, self._last + 1
        return not (groups.joined(self._first) or (behind < len(groups.starts) and groups.joined(behind)))

    @property
    def broken(self) -> bool:
        """A comma or a line's end stands inside it."""
        return any(map(_loose, self.gaps))

    @property
    def in_a_code(self) -> bool:
        """Glued to letters that are no word: a hash, a serial number such as SF1380…, a hexadecimal string."""
        if self.lead.code:
            return True
        text, end = self.stretch.text, self.end
        if end >= self.stretch.end or not (text[end].isascii() and text[end].isalnum()):
            return False
        after = _GLUED_AFTER.match(text, end, self.stretch.end)
        word = after.group() if after else ""
        return bool(word) and HEX_OR_CODE.fullmatch(word) is not None

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
