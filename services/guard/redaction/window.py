"""The part of a text that is in memory, normalised, with the way back to the original's characters."""

import re

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
        self._places: tuple[list[int], list[int]] | None = None  # starts and ends in `_raw`; None: the same as in plain
        self._unread = ""  # an escape that is not complete
        self._hidden = 0  # invisible characters at the end, in a row

    @property
    def received(self) -> int:
        return self._offset + len(self._raw) + len(self._unread)

    @property
    def shift(self) -> int | None:
        """What leads from a position to the original's; None where it is not everywhere the same."""
        return self._offset if self._places is None else None

    @property
    def size(self) -> int:
        """Characters in memory."""
        return len(self._raw) + len(self.plain) + len(self._unread)

    def take(self, text: str) -> None:
        text = self._unread + text
        cut = len(text) - unfinished(text)
        self._unread = text[cut:]
        self._append(text[:cut])

    def end(self) -> None:
        unread, self._unread = self._unread, ""
        self._append(unread)
        self.ended = True

    def raw_start(self, place: int) -> int:
        """Where the character at `place` begins, invisible ones before it left out."""
        if self._places is None:
            return self._offset + place
        starts = self._places[0]
        return self._offset + (starts[place] if place < len(starts) else len(self._raw))

    def raw_end(self, place: int) -> int:
        """One past the last original character of what ends before `place`."""
        if self._places is None:
            return self._offset + place
        return self._offset + (self._places[1][place - 1] if place else 0)

    def raw(self, start: int, end: int) -> str:
        """Original characters, by their positions in the whole text."""
        return self._raw[start - self._offset : end - self._offset]

    def forget(self, count: int) -> None:
        """The first `count` characters of `plain` are needed no more."""
        cut = count if self._places is None else self.raw_start(count) - self._offset
        self.plain, self._raw = self.plain[count:], self._raw[cut:]
        self._offset += cut
        if self._places is not None:
            starts, ends = self._places
            starts, ends = [at - cut for at in starts[count:]], [at - cut for at in ends[count:]]
            same = len(starts) == len(self._raw)
            self._places = None if same else (starts, ends)

    def _append(self, text: str) -> None:
        plain = folded(text)
        if len(plain) == len(text) and "\\" not in text and "%" not in text:
            if self._places is not None:
                at = range(len(self._raw), len(self._raw) + len(text))
                self._places[0].extend(at)
                self._places[1].extend(at_end + 1 for at_end in at)
            self.plain, self._raw = self.plain + plain, self._raw + text
            self._hidden = 0 if text else self._hidden
            return
        self._append_slowly(text)

    def _append_slowly(self, text: str) -> None:
        """Where something is invisible or escaped."""
        if self._places is None:
            self._places = (list(range(len(self._raw))), list(range(1, len(self._raw) + 1)))
        pieces: list[str] = []
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
        assert self._places is not None, "only where places differ"
        first = len(self._raw) + at
        pieces.append(folded(text))
        self._places[0].extend(range(first, first + len(text)))
        self._places[1].extend(range(first + width, first + width + len(text)))
        self._hidden = 0


def unfinished(text: str) -> int:
    """How many characters at the end may be the beginning of an escape, and so cannot be read yet."""
    if "\\" not in text[-6:] and "%" not in text[-2:]:
        return 0
    end = 0
    for match in _ESCAPE.finditer(text):
        end = match.end()
    tail = _UNFINISHED.search(text, end)
    return len(text) - tail.start() if tail else 0
