"""Digits and what stands between them, read as one number, in every way that the groups allow."""

import re
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

from services.guard.redaction.characters import CHINESE_DIGITS
from services.guard.redaction.context import AMOUNT_AFTER, AMOUNT_BEFORE, SERIAL
from services.guard.redaction.stretch import Stretch

MOST_DIGITS = 20
_GROUP = re.compile("[0-9]+")
_GAP = re.compile(r"[ \-._/·|*(),\n+\\]{0,4}")
_OPENING = re.compile(r"(?:\((?:\+ ?)?|\+ ?\(?)\Z")
_LOOSE = frozenset(",\n")
_HEX_OR_CODE = re.compile(r"[0-9a-f]+|[0-9A-Z]{1,6}|[A-Za-z]{1,2}")
_GLUED_BEFORE = re.compile(r"[A-Za-z0-9]*\Z")
_GLUED_AFTER = re.compile(r"[A-Za-z0-9]*")


class Group(NamedTuple):
    start: int
    end: int
    linked: bool  # nothing but a gap stands between it and the group before
    gap: str


class Reading:
    """Some groups of a chain as one number. `number`: its digits."""

    def __init__(self, stretch: Stretch, groups: list[Group], first: int, last: int, number: str) -> None:
        self.stretch, self.number = stretch, number
        self._groups, self._first, self._last = groups, first, last
        self.start, self.end = groups[first].start, groups[last].end

    @cached_property
    def gaps(self) -> tuple[str, ...]:
        """What stands between its groups, where something does."""
        return tuple(group.gap for group in self._groups[self._first + 1 : self._last + 1] if group.gap)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Of the groups that separators make."""
        sizes: list[int] = []
        for group in self._groups[self._first : self._last + 1]:
            if sizes and not group.gap:
                sizes[-1] += group.end - group.start
            else:
                sizes.append(group.end - group.start)
        return tuple(sizes)

    @cached_property
    def opening(self) -> int:
        """Where it begins with the bracket or plus sign before its first digit."""
        text = self.stretch.text
        match = _OPENING.search(text, max(self.stretch.start, self.start - 3), self.start)
        if match is None:
            return self.start
        closed = "(" not in match.group() or ")" in text[self.start : self.end]
        return match.start() if closed else self.start - ("+" in match.group()[-2:])

    @property
    def plus(self) -> bool:
        return "+" in self.stretch.text[self.opening : self.start]

    @cached_property
    def before(self) -> str:
        return self.stretch.before(self.opening)

    @cached_property
    def alone(self) -> bool:
        """No other digits go before or after it, joined as its own groups are."""
        follows = self._groups[self._last + 1] if self._last + 1 < len(self._groups) else None
        return not (self._joined(self._groups[self._first]) or (follows is not None and self._joined(follows)))

    @staticmethod
    def _joined(group: Group) -> bool:
        return group.linked and _LOOSE.isdisjoint(group.gap)

    @cached_property
    def broken(self) -> bool:
        """A comma or a line's end stands inside it."""
        return any(not _LOOSE.isdisjoint(gap) for gap in self.gaps)

    @cached_property
    def in_a_code(self) -> bool:
        """Glued to letters that are no word: a hash, a serial number such as SF1380…, a hexadecimal string."""
        text, stretch = self.stretch.text, self.stretch
        glued = _GLUED_BEFORE.search(text, max(0, self.start - 32), self.start)
        letters = glued.group() if glued else ""
        if letters and _HEX_OR_CODE.fullmatch(letters):
            return True
        after = _GLUED_AFTER.match(text, self.end, stretch.end)
        word = after.group() if after else ""
        return bool(word) and _HEX_OR_CODE.fullmatch(word) is not None

    @cached_property
    def in_a_fraction(self) -> bool:
        """3.14159265358 or 13800138000.50."""
        text, start = self.stretch.text, self.start
        if start >= 2 and text[start - 1] == "." and text[start - 2].isdigit():
            return True
        tail = re.match(r"\.[0-9]{1,2}(?![0-9])", text[self.end : self.end + 4])
        return tail is not None

    @cached_property
    def counts_something(self) -> bool:
        """An amount, an order, a time stamp: said directly before it or after it."""
        if SERIAL.search(self.before) or AMOUNT_BEFORE.search(self.before):
            return True
        return self.stretch.follows(AMOUNT_AFTER, self.end)


class NumberShape(Protocol):
    """A class of numbers, by how many digits it has. `accepts` gives the plain form."""

    @property
    def entity(self) -> str: ...

    @property
    def rule(self) -> str: ...

    @property
    def lengths(self) -> tuple[int, ...]: ...

    @property
    def opens(self) -> bool:
        """A bracket or plus sign before the first digit belongs to it."""
        ...

    def accepts(self, reading: Reading) -> str | None: ...


def groups_of(stretch: Stretch) -> list[Group]:
    """In order. Where digits change their script a group ends; so do the first and the last Chinese one of a group,
    because 一 and 二 also begin words."""
    text = stretch.numerals if stretch.has_chinese_digits else stretch.text
    found: list[Group] = []
    for match in _GROUP.finditer(text, stretch.start, stretch.end):
        start, end = match.span()
        if start == stretch.start and start and text[start - 1].isdigit():
            continue  # the rest of a number that began before
        if end == stretch.end and not stretch.whole:
            break  # the beginning of one that goes on
        gap = text[found[-1].end : start] if found else "?"
        linked = _GAP.fullmatch(gap) is not None
        if stretch.has_chinese_digits:
            found += _split(stretch.text, start, end, Group(start, end, linked, gap))
        else:
            found.append(Group(start, end, linked, gap))
    return found


def _split(text: str, start: int, end: int, whole: Group) -> list[Group]:
    cuts = {start, end}
    for at in range(start, end):
        chinese = text[at] in CHINESE_DIGITS
        if at > start and chinese != (text[at - 1] in CHINESE_DIGITS):
            cuts.add(at)
        if chinese and (at == start or text[at - 1] not in CHINESE_DIGITS):
            cuts.add(at + 1)
        if chinese and (at + 1 == end or text[at + 1] not in CHINESE_DIGITS):
            cuts.add(at)
    places = sorted(cuts)
    return [
        Group(a, b, whole.linked if a == start else True, whole.gap if a == start else "") for a, b in pairwise(places)
    ]
