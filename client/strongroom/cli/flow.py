"""Text that comes in pieces, wrapped at words while it comes."""

from __future__ import annotations

from collections.abc import Callable

from strongroom.cli.terminal import columns, visible

# Closing marks stay behind what they close, in the two columns kept for them.
_CLOSING = frozenset("，。、；：？！）】》」』”’…％,.;:?!)]}\"'")
HANGING_COLUMNS = 2


class Flow:
    """Writes within `width` columns. A word that outgrows its line is taken back and begun on the next one."""

    def __init__(self, write: Callable[[str], object], width: int, indent: str = "") -> None:
        self._write, self._indent = write, indent
        self._width = max(width - HANGING_COLUMNS, len(indent) + 2)
        self._column = 0  # 0 until something stands on the line
        self._word: list[str] = []  # on this line, unfinished, and not its only word

    @property
    def at_line_start(self) -> bool:
        return self._column == 0

    def feed(self, text: str) -> None:
        out: list[str] = []
        for character in visible(text):
            self._one(character, out)
        self._write("".join(out))

    def end_line(self) -> None:
        """Ends a line that was begun."""
        if self._column:
            self.feed("\n")

    def _one(self, character: str, out: list[str]) -> None:
        if character == "\n":
            self._new_line(out)
        elif character in " \t":
            self._space(character, out)
        elif columns(character) == 2:
            self._wide(character, out)
        else:
            self._narrow(character, out)

    def _space(self, character: str, out: list[str]) -> None:
        wide = 4 if character == "\t" else 1
        if self._column + wide > self._width:
            self._new_line(out)
            return
        self._put(" " * wide, wide, out)
        self._word = []

    def _wide(self, character: str, out: list[str]) -> None:
        room = self._width + (HANGING_COLUMNS if character in _CLOSING else 0)
        if self._column + 2 > room:
            self._new_line(out)
        self._put(character, 2, out)
        self._word = []

    def _narrow(self, character: str, out: list[str]) -> None:
        wide = columns(character)
        room = self._width + (HANGING_COLUMNS if character in _CLOSING else 0)
        if self._column + wide > room:
            word, length = self._word, sum(map(columns, self._word))
            begun = length < self._column - len(self._indent)
            if begun and word:
                out.append("\b" * length + "\x1b[K")
            self._new_line(out)
            for earlier in word if begun else ():
                self._put(earlier, columns(earlier), out)
            self._word = word if begun else []
        self._put(character, wide, out)
        self._word.append(character)

    def _put(self, text: str, wide: int, out: list[str]) -> None:
        if not self._column:
            out.append(self._indent)
            self._column = len(self._indent)
        out.append(text)
        self._column += wide

    def _new_line(self, out: list[str]) -> None:
        out.append("\n")
        self._column, self._word = 0, []
