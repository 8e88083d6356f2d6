"""Chinese postal addresses: a grammar of their parts, read from left to right, from division to room."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from services.guard.redaction.charset import Charset, kinds_of
from services.guard.redaction.named.entity import ADDRESS, Entity

if TYPE_CHECKING:
    from mypy_extensions import i64

LONGEST: Final = 96  # characters of an address
_BACK = 48  # characters before a house number in which its address may begin, where the whole text is there

_HAN = "\u4e00-\u9fff"
_D = "0-9"
_CD = "一二三四五六七八九十"
_N = f"(?:[{_D}]{{1,5}}|[{_CD}百]{{1,4}})"
# No part of a place's name: words that join a place to the rest of a sentence.
_JOINTS = "的了在是与及到至于从我你他她们就都也不这那有住搬寄送往给把被请对将去为"
_H = f"(?:(?![{_JOINTS}号])[{_HAN}])"

# Of a house or a room. It begins a character earlier where the sign behind it comes first here, which is rarer.
_NUMBERED: Final = re.compile(
    f"[号號弄栋幢座室层楼户房#单路街道巷](?:(?<=[路街道巷])[{_D}]|(?<=[{_D}{_CD}百A-Za-z].)(?:(?<=单)元|(?<![单路街道巷])))"
)
_MAY_NUMBER: Final = Charset("号號弄栋幢座室层楼户房#单路街道巷")
_ROADS: Final = "路街道巷"
HARD: Final = re.compile(f"[^{_HAN}{_D}A-Za-z#-]")
_CUE: Final = re.compile(
    "(?:地址|住址|住所|所在地|现住|家住|居住|坐落|位于|邮寄|快递|寄|送|搬|住)?(?:在|于|到|至|往|给|是|为|从)"
    "|地址|住址|住所|所在地|现住|家住|居住地?|坐落|户籍|籍贯|住|寄|址"
)
# The end of a text that may still be within an address: no joint, no punctuation, numbers only where a part may end.
_ENDINGS = "路街巷弄道里苑城园府湾庭阁坊区县旗州市镇乡村社心厦场寓家楼馆段东西南北中期附之元栋幢座层号號院室户铺"
_OTHER: Final = 0
_OF_A_NUMBER: Final = 1
_JOINT: Final = 2
_IDEOGRAPH: Final = 4
_KINDS: Final = kinds_of(f"{_D}A-Za-z#-", _JOINTS, _ENDINGS, _HAN)
STREET: Final = re.compile("[路街巷弄道里苑村园区厦场]")


class Part:
    """Parts come in the order of `rank`. `numbered`: it says which house or room, and so makes a place an address."""

    __slots__ = ("numbered", "pattern", "rank")

    def __init__(self, rank: int, numbered: bool, pattern: re.Pattern[str]) -> None:
        self.rank, self.numbered, self.pattern = rank, numbered, pattern


def _parts() -> tuple[Part, ...]:
    local = f"{_H}{{1,6}}?(?:新区|开发区|工业园区|工业园|高新区|自治县|自治州|区|县|旗|市|镇|乡|街道|村|社区)"
    road = (
        f"{_H}{{1,7}}?(?:大道|大街|环路|公路|胡同|[路街巷弄道里])(?:[东西南北中](?![{_HAN}]))?(?:[东西南北中{_CD}]段)?"
    )
    estate = (
        f"{_H}{{2,9}}?(?:小区|花园|大厦|广场|中心|公寓|家园|新村|大楼|写字楼|公馆|[苑城园府湾庭阁坊])"
        f"(?:[{_D}{_CD}]{{1,2}}期)?(?:[A-Z东西南北]区)?"
    )
    return (
        Part(1, False, re.compile(local)),
        Part(2, False, re.compile(road)),
        Part(3, True, re.compile(f"{_N}(?:-{_N})?[号弄號](?![楼线令])(?:院|附{_N}号)?(?:之{_N})?")),
        Part(4, False, re.compile(estate)),
        Part(5, True, re.compile(f"(?:[A-Za-z]|{_N})(?:栋|幢|号楼|座|号院|楼(?=[{_D}A-Z])|#楼?)")),
        Part(6, True, re.compile(f"{_N}单元")),
        Part(7, True, re.compile(f"(?:[{_D}]{{1,3}}|[{_CD}]{{1,3}})(?:层|楼|[Ff](?![A-Za-z]))")),
        Part(8, True, re.compile(f"[A-Za-z]?[{_D}]{{1,5}}(?:-[{_D}]{{1,4}}){{0,2}}(?:室|户|房|号|铺)")),
        Part(9, True, re.compile(f"[{_D}]{{1,2}}-[{_D}]{{1,2}}-[{_D}]{{2,4}}(?![{_D}])")),
        Part(9, True, re.compile(f"(?<=[元楼栋幢座])[{_D}]{{3,4}}(?![{_D}元万亿%年])")),
    )


PARTS: Final = _parts()


class Reading:
    """What was read from `start`: `levels` counts divisions; `address_end` is None where no house or room was named."""

    __slots__ = ("address_end", "end", "levels", "start")

    def __init__(self, start: int, end: int, levels: int, address_end: int | None) -> None:
        self.start, self.end, self.levels, self.address_end = start, end, levels, address_end


class Grammar:
    def __init__(self, divisions: Sequence[str]) -> None:
        names = "|".join(sorted(divisions, key=lambda name: (-len(name), name)))
        ending = "省|市|特别行政区|(?:壮族|回族|维吾尔)?自治区|地区|[盟县区]"
        self.division = re.compile(f"(?:{names})(?:{ending})?")
        self._may_begin = Charset("".join(sorted({name[0] for name in divisions})))

    def next_division(self, text: str, start: int) -> tuple[int, int] | None:
        begin = self._may_begin.first(text, start, len(text))
        match = self.division.search(text, begin) if begin < len(text) else None
        return match.span() if match else None

    def read(self, text: str, start: int, ahead: int, longest: int = LONGEST) -> Reading:
        """The longest address that begins at `start`. No part is read further than `ahead` from where it begins."""
        end, rank, levels, address_end = start, 0, 0, None
        limit = start + longest
        while levels < 3 and (match := self.division.match(text, end, min(limit, end + ahead))):
            end, levels = match.end(), levels + 1
        while (step := self._next(text, end, rank, min(limit, end + ahead))) is not None:
            part, end = step
            rank = part.rank
            levels += rank == 1
            if part.numbered or (address_end is not None and rank == 4):
                address_end = end
        return Reading(start, end, levels, address_end)

    @staticmethod
    def _next(text: str, end: int, rank: int, limit: int) -> tuple[Part, int] | None:
        for part in PARTS:
            if part.rank < rank or (part.rank == rank and rank > 2) or (part.numbered and rank == 0):
                continue  # a number right behind a division is a date or a line of the underground
            match = part.pattern.match(text, end, limit)
            if match:
                return part, match.end()
        return None

    def starts(self, text: str, low: int, anchor: int) -> Iterator[int]:
        """Where an address with a number at `anchor` may begin, the best first; `low` is where its clause begins."""
        division = self.division.search(text, low, anchor)
        if division:
            yield division.start()
        yield from reversed([match.end() for match in _CUE.finditer(text, low, anchor)])
        yield low


def _is_address(reading: Reading, text: str) -> bool:
    if reading.address_end is None or reading.address_end - reading.start < 5:
        return False
    return reading.levels > 0 or STREET.search(text, reading.start, reading.address_end) is not None


def scan(grammar: Grammar, text: str) -> list[Entity]:
    """All addresses of a whole text: from each number of a house or a room back to where its address begins."""
    found: list[Entity] = []
    if text.isascii():  # no part of a place's name
        return found
    done = 0
    for anchor, _ in numbers(text):
        if anchor < done:
            continue
        low = clause(text, max(done, anchor - _BACK), anchor)
        for start in grammar.starts(text, low, anchor):
            reading = grammar.read(text, start, LONGEST)
            if reading.address_end and reading.address_end > anchor and _is_address(reading, text):
                found.append(Entity(ADDRESS, start, reading.address_end))
                done = reading.address_end
                break
    return found


def numbers(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Where each begins that begins at `start` or later, and where it ends."""
    while (number := next_number(text, start)) is not None:
        yield number
        start = number[1]


def next_number(text: str, start: int) -> tuple[int, int] | None:
    may_be = _MAY_NUMBER.first(text, start, len(text))
    if may_be == len(text):
        return None
    for match in _NUMBERED.finditer(text, may_be):
        begin, end = match.span()
        if text[begin] not in _ROADS:
            begin -= 1
        if begin >= start:
            return begin, end
    return None


def tail(text: str, low: int) -> int:
    """Where the end of the text begins that may still be within an address; not before `low`."""
    size: i64 = len(text)
    first: i64 = low
    place, behind = size, _OTHER
    while place > first:
        point: i64 = ord(text[place - 1])
        kind = _KINDS[point] if point < len(_KINDS) else _OTHER
        if kind in (_OTHER, _JOINT) or (kind == _IDEOGRAPH and behind == _OF_A_NUMBER):
            break
        place, behind = place - 1, kind
    return place


def clause(text: str, low: int, anchor: int) -> int:
    for hard in HARD.finditer(text, low, anchor):
        low = hard.end()
    return low
