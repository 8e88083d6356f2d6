"""The words of a text in Latin, Greek and Cyrillic letters, and what is known of each."""

import re
from collections.abc import Iterable, Mapping, Sequence

LETTERS = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u052f\u1e00-\u1fff\u2206"
_LONGEST = 15  # characters of one token: longer words come in pieces, so that a look-ahead of 16 sees where one ends
_HAN_LONGEST = 12
_TOKEN = re.compile(
    f"[{LETTERS}]{{1,{_LONGEST}}}|[0-9]{{1,{_LONGEST}}}|[\u4e00-\u9fff]{{1,{_HAN_LONGEST}}}|['’]s\\b|\\n|[^\\s]"
)
_WORD = re.compile(f"[{LETTERS}]{{2}}")

_MEMORY = 20_000  # different words whose reading is kept
ENDS = frozenset(["h", *"。!?;"])  # shapes of words that no name and no address goes over

# Classes whose words begin no name where they are in no other: a firm's trade or form, days and months, roles, methods
# (Act, ratio), brands, grammar.
_NO_NAMES = frozenset("CMKWBF")
_OF_FIRMS = frozenset("CWB")

NEVER, NUMBER, ARTICLE, ALWAYS = range(4)  # whether a name or an address may begin with a word

# What a word is no part of: a name, where it has a capital and only classes that begin none (FIRM: it makes a firm, a
# method or a product of the name before it); a name or an address, where it is a small word of grammar.
NOTHING, NAMES, FIRM, BOTH = range(4)

# Of a program or a product: capitals within a word, but for those of McDowell or DeLuca.
_CAMEL = re.compile("(?!(?:Mc|Mac|De|Di|Da|Du|La|Le|Lo|Van|Von|Fitz|San|El|Al)[A-Z])[A-Z][a-z]+[A-Z]")
_ABBREVIATED = 4  # capitals: an unknown word of so few is no name


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


NONE = Word("", "^", "^", "^", "", "", NEVER, NOTHING)
_TRADE = Word("", "*", "Xx", "CXx", "", "", NEVER, FIRM)
_SHORTEST_BEGINNING = 5  # letters of a word whose end is not visible


class Lexicon:
    """Words and what they are: `classes` has a letter for each set a word is in; `common` ones are ordinary words;
    `firms` are known to everybody and called like a person."""

    def __init__(self, classes: Mapping[str, str], common: Iterable[str], firms: Iterable[str] = ()) -> None:
        self.classes = dict(classes)
        self.common = frozenset(common)
        self.firms = frozenset(firms)
        self._read: dict[str, Word] = {}
        given = (word for word, letters in self.classes.items() if "G" in letters and len(word) > 2)
        self._small = frozenset(word for word in given if word not in self.common)
        self._trades = _beginnings(self.classes)

    def read(self, text: str) -> Word:
        word = self._read.get(text)
        if word is None:
            if len(self._read) >= _MEMORY:
                self._read.clear()
            word = self._read[text] = self._reading(text)
        return word

    def read_all(self, texts: Sequence[str]) -> list[Word]:
        known = self._read
        return [known.get(text) or self.read(text) for text in texts]

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
        return "h"
    if text.isupper():
        return "X" if len(text) == 1 else "XX"
    return "Xx" if text[0].isupper() else "x"


class Rest:
    """Words that were read and are not decided, and how many characters lead from their beginning to what comes
    next."""

    __slots__ = ("size", "words")

    def __init__(self, words: list[Word], size: int) -> None:
        self.words, self.size = words, size


class Passage:
    """A text's words from `start` on. Most texts are passed over word by word, and nobody asks where the words stand:
    their places are looked for when they are."""

    def __init__(self, lexicon: Lexicon, text: str, start: int = 0, rest: Rest | None = None) -> None:
        """`rest`: of a passage in the same text, from `start` on, when it was shorter."""
        self._lexicon, self._text, self._start, self.size = lexicon, text, start, len(text)
        if rest is None:
            self.words = lexicon.read_all(_TOKEN.findall(text, start))
        else:
            self.words = rest.words + lexicon.read_all(_TOKEN.findall(text, start + rest.size))
        self._begins = [place for place, word in enumerate(self.words) if word.may_begin]  # in order
        self._passed = 0  # of these, by next_begin
        self._spans: list[tuple[int, int]] | None = None

    @property
    def spans(self) -> list[tuple[int, int]]:
        if self._spans is None:
            self._spans = self._find_spans()
        return self._spans

    def _find_spans(self) -> list[tuple[int, int]]:
        """Only white space stands between the words, so each is the next thing that reads like it."""
        text, end = self._text, self._start
        spans: list[tuple[int, int]] = []
        for word in self.words:
            start = text.find(word.text, end)
            end = start + len(word.text)
            spans.append((start, end))
        return spans

    def next_begin(self, place: int) -> int | None:
        """The first word from `place` on that a name or an address may begin with; asked from left to right."""
        begins = self._begins
        while self._passed < len(begins) and begins[self._passed] < place:
            self._passed += 1
        return begins[self._passed] if self._passed < len(begins) else None

    def rest(self, place: int) -> Rest | None:
        """The words from `place` on but the last, which more text may change."""
        last = len(self.words) - 1
        if place >= last:
            return None
        spans = self.spans
        return Rest(self.words[place:last], spans[last][0] - spans[place][0])

    def complete(self, place: int, limit: int) -> bool:
        """Whether the characters before `limit` show where the word ends."""
        start, end = self.spans[place]
        if end + 2 <= limit:
            return True
        word = self.words[place]
        character, longest = word.text[0], _HAN_LONGEST if word.shape == "h" else _LONGEST
        if character.isalnum():
            return end < limit or (end == limit and end - start == longest)
        return end <= limit and character not in "'’"

    def following(self, place: int, look_ahead: int | None) -> tuple[Word, Word]:
        """The next two words, as far as they can be seen."""
        words = self.words
        if look_ahead is None:
            after, second = words[place + 1 : place + 2], words[place + 2 : place + 3]
            return after[0] if after else NONE, second[0] if second else NONE
        limit = min(self.size, self.spans[place][0] + look_ahead)
        if place + 2 < len(words) and self.spans[place + 2][1] + 2 <= limit:
            return words[place + 1], words[place + 2]
        return self._seen(place + 1, limit), self._seen(place + 2, limit)

    def _seen(self, place: int, limit: int) -> Word:
        if place >= len(self.words) or self.spans[place][0] >= limit:
            return NONE
        start, end = self.spans[place]
        if self.complete(place, limit) or (limit == self.size and end <= limit):
            return self.words[place]
        return self._lexicon.read_beginning(self.words[place].text[: limit - start])
