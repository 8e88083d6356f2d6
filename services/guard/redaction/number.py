"""Digits and what stands between them, read as one number, in every way that the groups allow."""

import re
from itertools import pairwise
from typing import NamedTuple, Protocol

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
_GAP = re.compile(r"[ \-._/·|*(),\n+\\]{0,4}")
_DIGITS_THEN = re.compile(r"[0-9]([^0-9]*)\Z")
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


def joined(group: Group) -> bool:
    """To the digits before it, as the groups of one number are."""
    return group.linked and _LOOSE.isdisjoint(group.gap)


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
        return TELEPHONE.search(self.words[-24:]) is not None

    @lazily
    def names_telephone(self) -> bool:
        """Directly, and no public hotline."""
        return NAMED_TELEPHONE.search(self.words[-30:]) is not None and not self.hotline

    @lazily
    def hotline(self) -> bool:
        return HOTLINE.search(self.words[-16:]) is not None

    @lazily
    def says_card(self) -> bool:
        return CARD.search(self.words[-24:]) is not None

    @lazily
    def says_ssn(self) -> bool:
        return SSN.search(self.words[-32:]) is not None

    @lazily
    def says_identity(self) -> bool:
        return IDENTITY.search(self.words[-24:]) is not None

    @lazily
    def names_account(self) -> bool:
        return ACCOUNT.search(self.words)

    @lazily
    def counts(self) -> bool:
        """An amount, an order, a time stamp: said directly before."""
        return SERIAL.search(self.words) or AMOUNT_BEFORE.search(self.words[-26:]) is not None

    @lazily
    def code(self) -> bool:
        """Letters that are no word are glued to the first digit."""
        glued = _GLUED_BEFORE.search(self._stretch.text, max(0, self._start - 32), self._start)
        return glued is not None and glued.group() != "" and _HEX_OR_CODE.fullmatch(glued.group()) is not None


class Reading:
    """Some groups of a chain as one number. `number`: its digits."""

    def __init__(self, stretch: Stretch, groups: list[Group], first: int, last: int, number: str, lead: Lead) -> None:
        self.stretch, self.number, self.lead = stretch, number, lead
        self._groups, self._first, self._last = groups, first, last
        self.start, self.end = groups[first].start, groups[last].end

    @lazily
    def gaps(self) -> tuple[str, ...]:
        """What stands between its groups, where something does."""
        return tuple(group.gap for group in self._groups[self._first + 1 : self._last + 1] if group.gap)

    @lazily
    def sizes(self) -> tuple[int, ...]:
        """Of the groups that separators make."""
        sizes: list[int] = []
        for group in self._groups[self._first : self._last + 1]:
            if sizes and not group.gap:
                sizes[-1] += group.end - group.start
            else:
                sizes.append(group.end - group.start)
        return tuple(sizes)

    @lazily
    def opening(self) -> int:
        """Where it begins with the bracket or plus sign before its first digit."""
        opening, text = self.lead.opening, self.stretch.text
        if "(" in text[opening : self.start] and ")" not in text[self.start : self.end]:
            return self.start - (text[self.start - 1] == "+")
        return opening

    @property
    def plus(self) -> bool:
        return "+" in self.stretch.text[self.opening : self.start]

    @lazily
    def alone(self) -> bool:
        """No other digits go before or after it, joined as its own groups are."""
        follows = self._groups[self._last + 1] if self._last + 1 < len(self._groups) else None
        return not (joined(self._groups[self._first]) or (follows is not None and joined(follows)))

    @lazily
    def broken(self) -> bool:
        """A comma or a line's end stands inside it."""
        return any(not _LOOSE.isdisjoint(gap) for gap in self.gaps)

    @lazily
    def in_a_code(self) -> bool:
        """Glued to letters that are no word: a hash, a serial number such as SF1380…, a hexadecimal string."""
        if self.lead.code:
            return True
        after = _GLUED_AFTER.match(self.stretch.text, self.end, self.stretch.end)
        word = after.group() if after else ""
        return bool(word) and _HEX_OR_CODE.fullmatch(word) is not None

    @lazily
    def in_a_fraction(self) -> bool:
        """3.14159265358 or 13800138000.50."""
        text, start = self.stretch.text, self.start
        if start >= 2 and text[start - 1] == "." and text[start - 2].isdigit():
            return True
        tail = re.match(r"\.[0-9]{1,2}(?![0-9])", text[self.end : self.end + 4])
        return tail is not None

    @lazily
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

    def accepts(self, reading: Reading) -> str | None: ...


def groups_of(stretch: Stretch) -> list[Group]:
    """In order. Where digits change their script a group ends; so do the first and the last Chinese one of a group,
    because 一 and 二 also begin words."""
    base, text, found = stretch.start, stretch.numerals, list[Group]()
    for match in _GROUP.finditer(text):
        start, end = match.start() + base, match.end() + base
        if start == base and start and stretch.text[start - 1].isdigit():
            continue  # the rest of a number that began before
        if end == stretch.end and not stretch.whole:
            break  # the beginning of one that goes on
        gap = stretch.text[found[-1].end : start] if found else _gap_before(stretch.text, start)
        linked = _GAP.fullmatch(gap) is not None
        if stretch.has_chinese_digits:
            found += _split(stretch.text, start, end, Group(start, end, linked, gap))
        else:
            found.append(Group(start, end, linked, gap))
    return found


def _gap_before(text: str, start: int) -> str:
    """Between the first group of a stretch and digits before it: a row is looked at in parts."""
    before = text[max(0, start - 5) : start]
    gap = _DIGITS_THEN.search(before)
    return gap[1] if gap else "?"


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
