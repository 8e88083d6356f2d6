"""Finds e-mail addresses in a window of text, in ASCII or full-width writing, glued to Chinese or not."""

import re

from services.guard.redaction.characters import plain
from services.guard.redaction.finding import Span, Window
from services.guard.redaction.masking import Masking
from services.guard.redaction.overlong import Overlong

ENTITY = "EMAIL_ADDRESS"

MAILBOX_BOUND = 96  # characters before the @, invisible ones included (RFC 5321 allows 64 visible ones)
DOMAIN_BOUND = 80  # characters after it; a domain that is still open there is masked and swallowed to its end
IDN_BOUND = 24  # characters of a Chinese domain label

_MAILBOX = "LM0123456789._%+-'z"
_DOMAIN = re.compile(r"[LM0-9\-_.z]*+")
_LEAD = re.compile(r"z*+ ?z*+")
_LABELS = re.compile(r"(?:(?:[LM0-9\-_]z*+)++\.z*+)+")
_TOP = re.compile(r"(?:[LM]z*+){2,24}(?![LM0-9])")
_IDN_LABEL = re.compile(r"(?:[CLM0-9a-j\-]z*+){1,24}+\.z*+")

_IDN_STUFF = re.compile(r"[CLM0-9a-jz\-]*+")

_COMMON_TOP = "(?:com|net|org|edu|gov)[.]cn|com|cn|net|org|edu|gov|io|co|hk|tw|uk|de|me|info|biz"
_GLUED_TOP = re.compile(rf"(?:[a-z0-9_-]+\.)+?(?:{_COMMON_TOP})(?=[0-9])", re.ASCII)
_STOP_TOP = re.compile(rf"[a-z0-9_-]+(?:[。｡](?:{_COMMON_TOP}))+(?![a-z0-9])", re.ASCII | re.IGNORECASE)
_NO_STOP_TOP = re.compile(r"[^a-zA-Z.。｡]")
_IDN_TOPS = (
    "中国",
    "中國",
    "公司",
    "网络",
    "網絡",
    "网址",
    "集团",
    "在线",
    "中文网",
    "商城",
    "香港",
    "台湾",
    "政务",
    "公益",
    "我爱你",
    "中信",
)
_LONGEST_IDN_TOP = max(map(len, _IDN_TOPS))


class _Undecided(Exception):
    """The window ends before the address does."""


class EmailDetector:
    """Anchored at each @; holds back the word that may turn out to be a mailbox."""

    def __init__(self, masking: Masking) -> None:
        self.settled = 0
        self._floor = 0  # end of the last address: a mailbox does not reach back into it
        self._masking = masking
        self._overlong: Overlong | None = None

    def shift(self, count: int) -> None:
        self.settled -= count
        self._floor = max(0, self._floor - count)
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
                    self._overlong, self._floor = None, piece.end
                continue
            anchor = window.kinds.find("@", max(self.settled, self._floor))
            if anchor < 0:
                self.settled = len(window) if window.ended else max(self.settled, self._last_word(window.kinds))
                return spans
            mailbox = self._mailbox_start(window, anchor)
            if mailbox is None:
                self.settled = anchor + 1
                continue
            try:
                end = _domain_end(window, anchor + 1)
            except _Undecided:
                self.settled = mailbox
                return spans
            if end is None:
                self.settled = anchor + 1
            elif end < 0:
                self._overlong = Overlong(mailbox, anchor + 1 + DOMAIN_BOUND, self._masking, _DOMAIN)
                self.settled = mailbox
            else:
                value = f"{plain(window.text[mailbox:anchor]).strip()}@{plain(window.text[anchor + 1 : end]).strip()}"
                mask = self._masking.mask(value)
                spans.append(Span(ENTITY, mailbox, end, mask, "address", mailbox))
                self._floor = self.settled = end

    def _last_word(self, kinds: str) -> int:
        """Where a mailbox may have begun whose @ is not there yet."""
        spaced = len(kinds) - (kinds.endswith(" "))
        word = len(kinds[-MAILBOX_BOUND - 1 : spaced].rstrip(_MAILBOX))
        return max(0, len(kinds) - MAILBOX_BOUND - 1) + word

    def _mailbox_start(self, window: Window, anchor: int) -> int | None:
        """None: nothing before the @ can be a mailbox. A space before it counts only with another one after it."""
        kinds, end = window.kinds, anchor
        if kinds[anchor - 1 : anchor] == " " and anchor:
            if kinds[anchor + 1 : anchor + 2] not in ("", " "):
                return None
            end -= 1
        bound = max(self._floor, anchor - MAILBOX_BOUND)
        piece = kinds[bound:end]
        word = piece[len(piece.rstrip(_MAILBOX)) :]
        named = word.lstrip("._%+-'z")
        return end - len(named) if named else None


def _domain_end(window: Window, start: int) -> int | None:
    """The end of the domain that starts here; None: no domain; -1: it is open at its bound."""
    kinds = window.kinds
    limit = min(len(window), start + DOMAIN_BOUND)
    lead = _LEAD.match(kinds, start, limit)
    first = lead.end() if lead else start
    run = _DOMAIN.match(kinds, first, limit)
    end = run.end() if run else first
    if end == limit and limit < start + DOMAIN_BOUND and not window.ended:
        raise _Undecided
    if end == start + DOMAIN_BOUND:
        visible = kinds[first:end].replace("z", "")
        return -1 if "." in visible.strip(".") or len(visible) < DOMAIN_BOUND // 2 else None
    found = _latin_end(window, first, end)
    idn = _idn_end(window, first, end)
    if found is None and idn is None:
        return None
    if " " in kinds[start:first] and not plain(window.text[first : found or first]).endswith((".com", ".cn", ".net")):
        return None  # "100 @ market.close": a spaced @ needs a domain that is surely one
    return max(found or 0, idn or 0)


def _latin_end(window: Window, first: int, end: int) -> int | None:
    """The longest beginning of the run that ends in a label of letters."""
    kinds = window.kinds
    dots = [place for place in range(first, end) if kinds[place] == "."]
    for dot in reversed(dots):
        after = dot + 1 + len(kinds[dot + 1 : end]) - len(kinds[dot + 1 : end].lstrip("z"))
        top = _TOP.match(kinds, after, end)
        if top and _LABELS.fullmatch(kinds, first, after):
            return _without_trailing_ignored(kinds, top.end())
    if "z" not in kinds[first:end]:
        glued = _GLUED_TOP.match(plain(window.text[first:end]))
        if glued and len(plain(window.text[first:end])) == end - first:
            return first + glued.end()
    return None


def _idn_end(window: Window, first: int, end: int) -> int | None:
    """example.中国, 例子.公司, 例子.com, and example。com with an ideographic stop."""
    kinds, text = window.kinds, window.text
    after = kinds[end : end + 1]
    if after == "":
        return None
    if after in "Cabcdefghij" and kinds[first:end].rstrip("z").endswith("."):
        if len(window) - end < _LONGEST_IDN_TOP and not window.ended:
            raise _Undecided
        return next((end + len(top) for top in _IDN_TOPS if text.startswith(top, end)), None)
    if after == "o" and first < end and "." not in kinds[first:end]:
        return _stopped_end(window, first, end)
    if after in "Cabcdefghij" and "." not in kinds[first:end]:
        return _chinese_label_end(window, first)
    return None


def _stopped_end(window: Window, first: int, end: int) -> int | None:
    """example。com"""
    limit = end + IDN_BOUND
    if len(window) < limit and not window.ended and not _NO_STOP_TOP.search(window.text, end + 1):
        raise _Undecided
    stop = _STOP_TOP.match(window.text, first, limit)
    return stop.end() if stop else None


def _chinese_label_end(window: Window, first: int) -> int | None:
    """例子.公司, 例子.com"""
    kinds, text = window.kinds, window.text
    limit = first + 2 * IDN_BOUND
    label = _IDN_LABEL.match(kinds, first, limit)
    if label is None:
        stuff = _IDN_STUFF.match(kinds, first, limit)
        if stuff and stuff.end() == len(window) < limit and not window.ended:
            raise _Undecided
        return None
    limit = label.end() + IDN_BOUND
    if len(window) < limit and not window.ended:
        raise _Undecided
    for top in _IDN_TOPS:
        if text.startswith(top, label.end()):
            return label.end() + len(top)
    latin = _TOP.match(kinds, label.end(), limit)
    return _without_trailing_ignored(kinds, latin.end()) if latin else None


def _without_trailing_ignored(kinds: str, end: int) -> int:
    while kinds[end - 1] == "z":
        end -= 1
    return end
