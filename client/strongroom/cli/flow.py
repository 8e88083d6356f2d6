"""Text that comes in pieces, wrapped at words while it comes."""

from __future__ import annotations

from collections.abc import Callable

from strongroom.cli.terminal import columns, visible

# Closing marks stay behind what they close, in the two columns kept for them.
_CLOSING = frozenset("，。、；：？！）】》」』”’…％,.;:?!)]}\"'")
HANGING_COLUMNS = 2


class Flow:
    """Writes within `width` columns. A word that outgrows its line is taken back and begun on the next one."""

    def __init__(self, write: Callable[[str], object], width: int, indent: str = "", takes_back: bool = True) -> None:
        """`takes_back`: what is written goes to something that knows backspace and how to erase a line's end."""
        self._write, self._indent, self._takes_back = write, indent, takes_back
        self._width = max(width - HANGING_COLUMNS, len(indent) + 2)
        self._column = 0  # 0 until something stands on the line
        self._word: list[str] = []  # unfinished, on this line
        self._fresh = 0  # of its characters, those that are not written yet

    def feed(self, text: str) -> None:
        out: list[str] = []
        self._fresh = 0
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
        elif columns(character) == 0:
            self._accent(character, out)
        else:
            self._narrow(character, out)

    def _space(self, character: str, out: list[str]) -> None:
        wide = 4 if character == "\t" else 1
        if self._column + wide > self._width:
            self._new_line(out)
            return
        self._put(" " * wide, wide, out)
        self._word, self._fresh = [], 0

    def _wide(self, character: str, out: list[str]) -> None:
        room = self._width + (HANGING_COLUMNS if character in _CLOSING else 0)
        if self._column + 2 > room:
            self._new_line(out)
        self._put(character, 2, out)
        self._word, self._fresh = [], 0

    def _accent(self, character: str, out: list[str]) -> None:
        """Stays on what it stands on."""
        self._put(character, 0, out)
        if self._word:
            self._word.append(character)
            self._fresh += 1

    def _narrow(self, character: str, out: list[str]) -> None:
        room = self._width + (HANGING_COLUMNS if character in _CLOSING else 0)
        if self._column + 1 > room:
            self._carry_over(self._take_back(out), out)
        self._put(character, 1, out)
        self._word.append(character)
        self._fresh += 1

    def _take_back(self, out: list[str]) -> list[str]:
        """The unfinished word, off the line; nothing if it has the line for itself, or stays where it was written."""
        word, length = self._word, sum(map(columns, self._word))
        if length >= self._column - len(self._indent):
            return []
        if self._fresh == len(word):
            del out[len(out) - len(word) :]
        elif self._takes_back:
            out.append("\b" * length + "\x1b[K")
        else:
            return []
        return word

    def _carry_over(self, word: list[str], out: list[str]) -> None:
        self._new_line(out)
        for character in word:
            self._put(character, columns(character), out)
        self._word, self._fresh = word, len(word)

    def _put(self, text: str, wide: int, out: list[str]) -> None:
        if not self._column:
            out.append(self._indent)
            self._column = len(self._indent)
        out.append(text)
        self._column += wide

    def _new_line(self, out: list[str]) -> None:
        out.append("\n")
        self._column, self._word, self._fresh = 0, [], 0
