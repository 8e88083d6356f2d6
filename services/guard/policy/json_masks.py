"""Keeps JSON valid where masks stand in it, in a text that arrives in pieces, whatever the pieces."""

import json
import re
from typing import NamedTuple

from services.guard.redaction.finding import Finding
from services.guard.redaction.redactor import Mask, Redaction

LONGEST_ATOM = 256  # characters of a number that are held back; JSON's other words are shorter
_QUOTES = re.compile(r'\\.|"|\\\Z', re.DOTALL)
_ATOM = re.compile(r'[^\s"{}\[\],:]+')
_STRUCTURE = re.compile(r'["{}\[\]:]')


class Part(NamedTuple):
    """What may be released of a redacted piece. `broken`: the mask that follows would leave no JSON."""

    text: str
    findings: tuple[Finding, ...]
    mask_ends: tuple[int, ...]
    broken: bool


class JsonMasks:
    """In a string a mask is escaped. A number that a mask touches is replaced whole, by the mask as a string; so it is
    held back until it ends. What was no JSON before stays what it was."""

    def __init__(self) -> None:
        self._inside = False  # a string
        self._escaped = False  # behind a backslash whose character is not there yet
        self._atom = ""  # outside of strings: the number or word at the end, as far as it is there
        self._long = False  # its beginning was given already
        self._mask: str | None = None  # of that number
        self._its_findings: list[Finding] = []
        self._out: list[str] = []
        self._length = 0
        self._found: list[Finding] = []
        self._ends: list[int] = []

    @property
    def size(self) -> int:
        """Characters in memory."""
        return len(self._atom) + len(self._its_findings)

    def take(self, part: Redaction, last: bool = False) -> Part:
        """`last`: nothing follows, so that a number at the end is whole."""
        self._out, self._length, self._found, self._ends = [], 0, [], []
        at, broken = 0, False
        for mask in part.masks:
            self._plain(part.text[at : mask.start])
            at = mask.end
            if not self._fits(mask):
                broken = True
                break
            self._masked(part.text[mask.start : mask.end], mask)
        if not broken:
            self._plain(part.text[at:])
            if last:
                self._end_atom()
        return Part("".join(self._out), tuple(self._found), tuple(self._ends), broken)

    def _plain(self, text: str) -> None:
        at = 0
        while at < len(text):
            at = self._in_string(text, at) if self._inside else self._outside(text, at)

    def _in_string(self, text: str, start: int) -> int:
        at = start + 1 if self._escaped else start
        self._escaped = False
        for match in _QUOTES.finditer(text, at):
            if match.group() == '"':
                self._inside = False
                self._give(text[start : match.end()])
                return match.end()
            self._escaped = match.group() == "\\"
        self._give(text[start:])
        return len(text)

    def _outside(self, text: str, start: int) -> int:
        atom = _ATOM.match(text, start)
        if atom:
            self._add(atom.group())
            return atom.end()
        self._end_atom()
        self._inside = text[start] == '"'
        self._give(text[start])
        return start + 1

    def _add(self, atom: str) -> None:
        if self._mask is not None:
            return
        self._atom += atom
        if len(self._atom) > LONGEST_ATOM:  # no number that any mask is of; one that comes all the same breaks it
            self._give(self._atom)
            self._atom, self._long = "", True

    def _fits(self, mask: Mask) -> bool:
        if not self._inside:
            return not self._long and _STRUCTURE.search(mask.raw) is None
        signs = [match.group() for match in _QUOTES.finditer(mask.raw)]
        return not self._escaped and '"' not in signs and signs[-1:] != ["\\"]

    def _masked(self, text: str, mask: Mask) -> None:
        written = json.dumps(text, ensure_ascii=False)
        if self._inside:
            self._give(written[1:-1])
            if mask.finding:
                self._find(mask.finding)
            return
        self._atom = ""
        self._mask = written if self._mask is None else self._mask
        if mask.finding:
            self._its_findings.append(mask.finding)

    def _end_atom(self) -> None:
        self._give(self._atom if self._mask is None else self._mask)
        for finding in self._its_findings:
            self._find(finding)
        self._atom, self._mask, self._long, self._its_findings = "", None, False, []

    def _give(self, text: str) -> None:
        self._out.append(text)
        self._length += len(text)

    def _find(self, finding: Finding) -> None:
        self._found.append(finding)
        self._ends.append(self._length)
