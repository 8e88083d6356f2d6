"""The part of a text that is in memory, normalised, with the way back to the original's characters."""

import re
from bisect import bisect_right

from services.guard.redaction.characters import BREAK, folded, invisible, marked, read_escape

HIDDEN_MOST = 16  # invisible characters in a row; each further so many are a BREAK, which bounds what a stretch covers
_UNFINISHED = re.compile(r"(?:\\(?:u[0-9A-Fa-f]{0,3})?|%[0-9A-Fa-f]?)\Z", re.ASCII)
_ESCAPE = re.compile(r"\\\\|\\u[0-9A-Fa-f]{4}|\\[bfnrt\"/]|%[0-9A-Fa-f]{2}", re.ASCII)


class Window:
    """`plain` is the normalised text: one character for each visible original one, full-width and other digits as
    ASCII ones, escapes read, invisible characters left out. Positions are in `plain`; `raw_start` and `raw_end` give
    the original's, counted from the beginning of the whole text."""

    def __init__(self) -> None:
        self.plain = ""
        self.ended = False
        self._raw = ""
        self._offset = 0  # of the first character of `_raw` in the whole text
        self._runs: list[int] = []  # where runs of `plain` begin that are as long in `_raw`; none: it all is one run
        self._raw_runs: list[int] = []  # and where in `_raw`
        self._widths: list[int] = []  # how long the last character of each is in `_raw`: an escape ends a run
        self._noted = 0  # characters of `plain`, while more are put together
        self._unread = ""  # an escape that is not complete
        self._hidden = 0  # invisible characters at the end, in a row

    @property
    def received(self) -> int:
        return self._offset + len(self._raw) + len(self._unread)

    @property
    def shift(self) -> int | None:
        """What leads from a position to the original's; None where it is not everywhere the same."""
        return None if self._runs else self._offset

    @property
    def size(self) -> int:
        """Characters in memory."""
        return len(self._raw) + len(self.plain) + len(self._unread)

    def take(self, text: str) -> None:
        if self._unread:
            text, self._unread = self._unread + text, ""
        waiting = unfinished(text)
        if waiting:
            text, self._unread = text[:-waiting], text[-waiting:]
        self._append(text)

    def end(self) -> None:
        unread, self._unread = self._unread, ""
        if unread:
            self._append(unread)
        self.ended = True

    def raw_start(self, place: int) -> int:
        """Where the character at `place` begins, invisible ones before it left out."""
        if not self._runs:
            return self._offset + place
        return self._offset + (self._raw_place(place) if place < len(self.plain) else len(self._raw))

    def raw_end(self, place: int) -> int:
        """One past the last original character of what ends before `place`."""
        if not self._runs:
            return self._offset + place
        return self._offset + (self._raw_place(place - 1) + self._width(place - 1) if place else 0)

    def _raw_place(self, place: int) -> int:
        run = bisect_right(self._runs, place) - 1
        return self._raw_runs[run] + place - self._runs[run]

    def _width(self, place: int) -> int:
        return self._widths[bisect_right(self._runs, place) - 1]

    def raw(self, start: int, end: int) -> str:
        """Original characters, by their positions in the whole text."""
        return self._raw[start - self._offset : end - self._offset]

    def forget(self, count: int) -> None:
        """The first `count` characters of `plain` are needed no more."""
        cut = self.raw_start(count) - self._offset
        self.plain, self._raw = self.plain[count:], self._raw[cut:]
        self._offset += cut
        if len(self.plain) == len(self._raw):
            self._runs, self._raw_runs, self._widths = [], [], []
        if self._runs:
            first = bisect_right(self._runs, count) - 1
            begun = max(0, count - self._runs[first])  # of the first run that stays
            self._runs = [max(0, at - count) for at in self._runs[first:]]
            self._raw_runs = [self._raw_runs[first] + begun - cut] + [at - cut for at in self._raw_runs[first + 1 :]]
            self._widths = self._widths[first:]

    def _append(self, text: str) -> None:
        plain = folded(text)
        escaped = ("\\" in text or "%" in text) and _ESCAPE.search(text) is not None
        if len(plain) < len(text) or escaped:
            self._append_slowly(text)
            return
        if self._runs and text:
            self._begin_run(len(self.plain), len(self._raw), 1)
        self.plain, self._raw = self.plain + plain, self._raw + text
        self._hidden = 0 if text else self._hidden

    def _append_slowly(self, text: str) -> None:
        """Where something is invisible or escaped."""
        if not self._runs:
            self._begin_run(0, 0, 1)
        pieces: list[str] = []
        self._noted = len(self.plain)
        at = 0
        for start in marked(text):
            if start < at:  # inside an escape
                continue
            match = _ESCAPE.match(text, start)
            character, end = (read_escape(match.group()), match.end()) if match else (text[start], start + 1)
            self._note(pieces, text[at:start], at)
            if not invisible(character):
                self._note(pieces, character, start, end - start)
            else:
                self._hidden += 1
                if self._hidden > HIDDEN_MOST:
                    self._note(pieces, BREAK, start, end - start)
            at = end
        self._note(pieces, text[at:], at)
        self.plain += "".join(pieces)
        self._raw += text

    def _note(self, pieces: list[str], text: str, at: int, width: int = 1) -> None:
        """Visible characters, the first of which begins at `at` behind `_raw`; one alone may be `width` wide."""
        if not text:
            return
        self._begin_run(self._noted, len(self._raw) + at, width)
        pieces.append(folded(text))
        self._noted += len(text)
        self._hidden = 0

    def _begin_run(self, place: int, raw_place: int, width: int) -> None:
        """One of no width goes before one that begins at the same place."""
        self._runs.append(place)
        self._raw_runs.append(raw_place)
        self._widths.append(width)


def unfinished(text: str) -> int:
    """How many characters at the end may be the beginning of an escape, and so cannot be read yet."""
    if "\\" not in text and "%" not in text:
        return 0
    end = 0
    for match in _ESCAPE.finditer(text):
        end = match.end()
    tail = _UNFINISHED.search(text, end)
    return len(text) - tail.start() if tail else 0
