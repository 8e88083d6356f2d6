"""The words of a text in Latin, Greek and Cyrillic letters, and what is known of each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

LETTERS = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u052f\u1e00-\u1fff\u2206"
_WORD: Final = re.compile(f"[{LETTERS}]{{2}}")

_MEMORY: Final = 20_000  # different words whose reading is kept
HAN: Final = "h"  # the shape of ideographs
ENDS: Final = frozenset([HAN, *"。!?;"])  # shapes of words that no name and no address goes over

# Classes whose words begin no name where they are in no other: a firm's trade or form, days and months, roles, methods
# (Act, ratio), brands, grammar.
_NO_NAMES = frozenset("CMKWBF")
_OF_FIRMS = frozenset("CWB")

# Whether a name or an address may begin with a word.
NEVER: Final = 0
NUMBER: Final = 1
ARTICLE: Final = 2
ALWAYS: Final = 3

# What a word is no part of: a name, where it has a capital and only classes that begin none (FIRM: it makes a firm, a
# method or a product of the name before it); a name or an address, where it is a small word of grammar.
NOTHING: Final = 0
NAMES: Final = 1
FIRM: Final = 2
BOTH: Final = 3

# Of a program or a product: capitals within a word, but for those of McDowell or DeLuca.
_CAMEL: Final = re.compile("(?!(?:Mc|Mac|De|Di|Da|Du|La|Le|Lo|Van|Von|Fitz|San|El|Al)[A-Z])[A-Z][a-z]+[A-Z]")
_ABBREVIATED: Final = 4  # capitals: an unknown word of so few is no name


class Word:
    """A token's text read: `word` is the text of an ordinary word only, `sort` its classes and its shape."""

    __slots__ = (
        "capital", "ends", "kind", "may_begin", "number", "place", "prefix", "shape", "sort", "suffix", "text", "word",
    )  # fmt: skip

    def __init__(
        self, text: str, word: str, shape: str, sort: str, suffix: str, prefix: str, may_begin: int, ends: int
    ) -> None:
        self.text, self.word, self.shape, self.sort = text, word, shape, sort
        self.suffix, self.prefix, self.may_begin, self.ends = suffix, prefix, may_begin, ends
        self.kind = f"{word}|{sort}|{shape}"  # what is known of it where another word is looked at
        self.number = shape[0] == "d"
        self.capital = shape[0] == "X"
        self.place = "L" in sort[:-1]


NONE: Final = Word("", "^", "^", "^", "", "", NEVER, NOTHING)
_TRADE: Final = Word("", "*", "Xx", "CXx", "", "", NEVER, FIRM)
_SHORTEST_BEGINNING = 5  # letters of a word whose end is not visible


class Lexicon:
    """Words and what they are: `classes` has a letter for each set a word is in; `common` ones are ordinary words;
    `firms` are known to everybody and called like a person."""

    def __init__(self, classes: Mapping[str, str], common: Iterable[str], firms: Iterable[str] = ()) -> None:
        self.classes = dict(classes)
        self.common = frozenset(common)
        self.firms = frozenset(firms)
        self.known: dict[str, Word] = {}  # what was read, and is kept
        given = (word for word, letters in self.classes.items() if "G" in letters and len(word) > 2)
        self._small = frozenset(word for word in given if word not in self.common)
        self._trades = _beginnings(self.classes)

    def read(self, text: str) -> Word:
        word = self.known.get(text)
        if word is None:
            if len(self.known) >= _MEMORY:
                self.known.clear()
            word = self.known[text] = self._reading(text)
        return word

    def read_all(self, texts: Sequence[str]) -> list[Word]:
        return [self.read(text) for text in texts]

    def read_beginning(self, text: str) -> Word:
        """A word whose end is not visible: NONE, unless it can only become the word of a firm's trade."""
        return _TRADE if text[0].isupper() and text.lower() in self._trades else NONE

    def _reading(self, text: str) -> Word:
        lower, shape = text.lower(), _shape(text)
        letters = self.classes.get(lower, "")
        if lower in self.common:
            word, letters = lower, letters + "c"
        elif not text[0].isalpha() and len(text) < 3:
            word = lower
        elif "\u4e00" <= text[0] <= "\u9fff":
            word = text[-2:]
        else:
            word = lower if letters and not set(letters) & {"G", "S"} else "*"
        unknown = word == "*" and len(text) > 2
        return Word(
            text,
            word,
            shape,
            letters + shape,
            lower[-3:] if unknown else "",
            lower[:3] if unknown else "",
            self._may_begin(text, lower, shape),
            self._ends(lower, shape),
        )

    def _may_begin(self, text: str, lower: str, shape: str) -> int:
        if lower == "the":
            return ARTICLE
        if "T" in self.classes.get(lower, "") or self._names_nobody(lower):
            return NEVER
        if shape in ("Xx", "XX", "X"):
            known = lower in self.classes
            named = lower not in self.common and not _abbreviated(text, shape) and _CAMEL.match(text) is None
            return ALWAYS if known or named else NEVER
        if shape[0] == "d":
            return NUMBER
        return ALWAYS if lower in self._small else NEVER

    def _ends(self, lower: str, shape: str) -> int:
        letters = self.classes.get(lower, "")
        if shape == "x":
            return BOTH if "F" in letters else NOTHING
        if shape[0] != "X" or not self._names_nobody(lower):
            return NOTHING
        return NAMES if _OF_FIRMS.isdisjoint(letters) else FIRM

    def _names_nobody(self, lower: str) -> bool:
        letters = self.classes.get(lower, "")
        return bool(letters) and _NO_NAMES.issuperset(letters)

    def worth_reading(self, text: str) -> bool:
        """Whether there is any word that a name or an address could begin with."""
        return _WORD.search(text) is not None


def _abbreviated(text: str, shape: str) -> bool:
    return shape == "XX" and len(text) <= _ABBREVIATED


def _beginnings(classes: Mapping[str, str]) -> frozenset[str]:
    """What the words of firms begin with, where no word of another class begins so."""
    trades = {word for word, letters in classes.items() if letters == "C"}
    return _cut(trades) - _cut(classes.keys() - trades)


def _cut(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word[:size] for word in words for size in range(_SHORTEST_BEGINNING, len(word)))


def _shape(text: str) -> str:
    if text.isdigit():
        return "d" + str(min(len(text), 6))
    if not text[0].isalpha():
        return text
    if "\u4e00" <= text[0] <= "\u9fff":
        return HAN
    if text.isupper():
        return "X" if len(text) == 1 else "XX"
    return "Xx" if text[0].isupper() else "x"
