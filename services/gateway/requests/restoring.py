"""Puts back, for the caller, what reversible tokens stand for: in a text that comes in pieces, whatever the pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from services.gateway.requests.outcome import Finding
from services.gateway.requests.question import Message

_OPENING, _CLOSING = r"[\[【［]", r"[\]】］]"
_TYPES_KEPT = 64  # sets of types whose patterns stay compiled
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_QUOTES = re.compile(r'\\.|"|\\\Z', re.DOTALL)


class Hidden(NamedTuple):
    """What a token stands for: the caller's own characters."""

    type: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was put back, in characters of the text that the caller gets."""

    hidden: Hidden
    start: int
    end: int


def hidden_in(messages: Sequence[Message], findings: Sequence[Finding]) -> dict[str, Hidden]:
    """By token, without its brackets. Only what this prompt holds: a token of another conversation means nothing here.
    Of several ways to write a value the first one stays."""
    hidden: dict[str, Hidden] = {}
    for found in findings:
        if found.token:
            text = messages[found.message_index].content[found.start : found.end]
            hidden.setdefault(found.token.strip("[]"), Hidden(found.type, found.level, text))
    return hidden


class Restoring:
    """Holds back the longest ending that may still become a token, which is shorter than one with its brackets."""

    def __init__(self, hidden: Mapping[str, Hidden], in_json: bool = False) -> None:
        """`in_json`: the text is JSON, and stays so: what is put back is escaped as where it stands needs it."""
        self._hidden = hidden
        self._json = _Json() if in_json else None
        self._held = ""
        self._given = 0  # characters
        self.places: list[Place] = []
        self.put_bytes = 0
        if hidden:
            types = tuple(sorted({one.rpartition("_")[0] for one in hidden}, key=len, reverse=True))
            self._token, self._open = _patterns(types)
            self._longest = 2 * max(map(len, hidden)) + 2  # each of its signs behind a backslash, and brackets

    def feed(self, text: str, over: bool) -> str:
        """What is decided; all of it where the text is `over`."""
        if not self._hidden:
            return text
        held = self._held + text
        limit = len(held)
        if not over and (begun := self._open.search(held, max(0, limit - self._longest))):
            limit = begun.start()
        out, at = list[str](), 0
        for match in self._token.finditer(held):
            if match.start() >= limit:
                break
            hidden = self._hidden.get(f"{match[1]}_{match[2]}".replace("\\", ""))
            if hidden is not None:
                self._pass(held[at : match.start()], out)
                self._put(hidden, match.group(), out)
                at = match.end()
        self._pass(held[at:limit], out)
        self._held = held[limit:]
        return "".join(out)

    def _pass(self, text: str, out: list[str]) -> None:
        if self._json:
            self._json.read(text)
        self._given += len(text)
        out.append(text)

    def _put(self, hidden: Hidden, token: str, out: list[str]) -> None:
        text = hidden.text
        if self._json:
            if not self._json.inside and token[0] == "[" and token[-1] != "]":  # an array's, not the token's
                self._pass("[", out)
            text = self._json.written(text)
        self.places.append(Place(hidden, self._given, self._given + len(text)))
        self._given += len(text)
        self.put_bytes += len(text.encode())
        out.append(text)


class _Json:
    """Whether a JSON text is inside a string, so far."""

    def __init__(self) -> None:
        self.inside = False
        self._escaped = False  # it ends in a backslash whose character is not there yet

    def read(self, text: str) -> None:
        at = 1 if self._escaped and text else 0
        self._escaped = self._escaped and not text
        for match in _QUOTES.finditer(text, at):
            if match.group() == '"':
                self.inside = not self.inside
            elif match.group() == "\\":
                self._escaped = True

    def written(self, text: str) -> str:
        """As it may stand here: inside a string, as a number, or as a string of its own."""
        if "\\" in text:  # the prompt had it in JSON, too
            with suppress(ValueError):
                text = str(json.loads(f'"{text}"'))
        if self.inside:
            return json.dumps(text, ensure_ascii=False)[1:-1]
        return text if _NUMBER.fullmatch(text) else json.dumps(text, ensure_ascii=False)


@lru_cache(_TYPES_KEPT)
def _patterns(types: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A token, its brackets or the backslashes that Markdown asks for there or not; and the beginning of one at the end
    of a text."""
    letters = r"[A-Z]{11}"
    names = "|".join(name.replace("_", r"\\?_") for name in types)
    token = rf"{_OPENING}?({names})\\?_({letters})(?![A-Za-z]){_CLOSING}?"
    tails = "|".join(_begun(f"{name}_") for name in types)
    return re.compile(token), re.compile(rf"(?:{_OPENING}(?:\Z|{tails})|{tails})")


def _begun(name: str) -> str:
    """Matches every beginning of a token of that name that a text ends with."""
    rest = r"[A-Z]{0,11}\Z"
    for character in reversed(name[1:]):
        rest = rf"\\?(?:\Z|_{rest})" if character == "_" else rf"(?:\Z|{character}{rest})"
    return name[0] + rest
