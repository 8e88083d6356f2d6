"""What a terminal is told: colours where it has them, and text that cannot command it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

# Control characters, and those that turn the direction of what follows: a model's text never steers a terminal.
_COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CODES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def visible(text: str) -> str:
    """The text with each such character shown by a picture of it; new lines and tabs stay."""
    return _COMMANDING.sub(lambda found: _picture(ord(found.group())), text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"


def columns(character: str) -> int:
    """How many columns it takes."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


@dataclass(frozen=True)
class Paint:
    """Colours, or the plain text where there are none."""

    on: bool

    @classmethod
    def of(cls, out: TextIO, environ: Mapping[str, str] = os.environ) -> Paint:
        return cls(out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb")

    def __call__(self, text: str, *styles: str) -> str:
        if not self.on or not text:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def prompt(self, text: str, *styles: str) -> str:
        """For a line editor, which must not count what has no width."""
        painted = self(text, *styles)
        return re.sub("\x1b\\[[0-9;]*m", lambda code: f"\x01{code.group()}\x02", painted)
