"""Names and addresses in Latin, Greek and Cyrillic letters: a linear tagger that walks over the words that matter."""

from collections.abc import Mapping, Sequence

from services.guard.redaction.named.entity import ADDRESS, PERSON, Entity
from services.guard.redaction.named.words import (
    ALWAYS,
    ARTICLE,
    ENDS,
    NEVER,
    NONE,
    NUMBER,
    Lexicon,
    Passage,
    Token,
    Word,
    complete,
)

OUT, BEGIN_PERSON, IN_PERSON, BEGIN_ADDRESS, IN_ADDRESS = range(5)
TAGS = 5
_BEGINS = {BEGIN_PERSON: PERSON, BEGIN_ADDRESS: ADDRESS}
_MOST_WORDS = 32  # of one name or address


Weights = Sequence[Mapping[str, Sequence[float]]]


def may_begin(walk: "Walk", word: Word, after: Word, second: Word) -> bool:
    """Whether a name or an address may begin with this word. With a number: where words follow, or a place stands
    before it. With an article: "the corner of"."""
    if word.may_begin == ARTICLE:
        return after.text.lower() == "corner"
    if word.may_begin != NUMBER:
        return word.may_begin == ALWAYS and after.text != "@"
    if _street_like(after) or (after.shape[0] == "d" and _street_like(second)):
        return True
    return "L" in walk.last.sort[:-1]


def _street_like(word: Word) -> bool:
    """A word that may follow a house number: with a capital, or no ordinary one."""
    return word.shape[0] == "X" or (word.shape == "x" and not word.sort.endswith("cx"))


class Walk:
    """Where the tagger stands: what it said about the token before, and what the open entity looks like."""

    __slots__ = ("before", "commas", "last", "length", "line_led", "lines", "previous")

    def __init__(self) -> None:
        self.previous = OUT
        self.last, self.before = NONE, NONE
        self.length = self.commas = self.lines = 0
        self.line_led = "-"  # whether the last address began a line

    def step(self, word: Word, tag: int) -> None:
        if tag != OUT:
            if tag != IN_PERSON and tag != IN_ADDRESS:
                self.length = self.commas = self.lines = 0
                if self.previous == OUT:
                    self.line_led = "n" if self.last.text == "\n" else "-"
            self.length += 1
            self.commas += word.text == ","
            self.lines += word.text == "\n"
        self.previous = tag
        self.before, self.last = self.last, word

    def pass_over(self, words: Sequence[Word]) -> None:
        """Steps over words outside of any entity that begin none."""
        if words:
            self.before, self.last = words[-2] if len(words) > 1 else self.last, words[-1]


def features(walk: Walk, word: Word, after: Word, second: Word) -> list[str]:
    """One value for each of the model's tables. A word that is not visible yet is NONE."""
    tag = "OPpAa"[walk.previous]
    _, last_word, last_shape, last_sort, _, _, _ = walk.last
    _, before_word, before_shape, _, _, _, _ = walk.before
    _, after_word, after_shape, after_sort, _, _, _ = after
    text, own_word, shape, sort, suffix, prefix, _ = word
    length = f"{tag}{walk.length if walk.length < 5 else 5}" if tag != "O" else "O"
    own, around = tag + shape, shape + after_shape
    return [
        own,
        tag + sort,
        tag + own_word,
        suffix and tag + suffix,
        suffix[1:],
        prefix,
        last_word + "|" + own,
        f"{before_word} {last_word}" if tag == "O" else "",
        tag + last_sort + "|" + sort,
        last_sort + tag,
        f"{after_word}|{own}",
        f"{own}|{after_sort}",
        f"{tag}{after_word} {second.word}",
        f"{own}{after_sort}{second.sort}",
        f"{tag}{last_shape}{around}",
        length + shape,
        f"{length}{sort}{after_shape}",
        f"{length[0]}{walk.commas}{walk.lines}{around}" if tag != "O" else "",
        f"{before_shape}{last_shape}{own}",
        f"{second.shape}{after_shape}{own}",
        f"{last_word}|{tag}{sort}",
        f"{tag}{sort}|{after_word}",
        f"{len(text)}{own}",
        f"{walk.line_led}{own}{after_shape}",
        f"{walk.line_led}{tag}{last_sort}|{sort}",
    ]


_ALLOWED = {
    OUT: (OUT, BEGIN_PERSON, BEGIN_ADDRESS),
    BEGIN_PERSON: (OUT, BEGIN_PERSON, IN_PERSON, BEGIN_ADDRESS),
    IN_PERSON: (OUT, BEGIN_PERSON, IN_PERSON, BEGIN_ADDRESS),
    BEGIN_ADDRESS: (OUT, BEGIN_PERSON, BEGIN_ADDRESS, IN_ADDRESS),
    IN_ADDRESS: (OUT, BEGIN_PERSON, BEGIN_ADDRESS, IN_ADDRESS),
}


# What may follow a word that begins nothing.
_NO_BEGIN = {OUT: (OUT,)} | {tag: tuple(t for t in _ALLOWED[tag] if t not in _BEGINS) for tag in range(1, TAGS)}


def decide(weights: Weights, values: Sequence[str], walk: Walk, word: Word, margin: float) -> int:
    """The best tag of those that may stand here."""
    rows = [row for table, value in zip(weights, values, strict=True) if (row := table.get(value)) is not None]
    sums = [sum(column) for column in zip(*rows, strict=True)] if rows else [0.0] * TAGS
    sums[OUT] += margin
    allowed = (_NO_BEGIN if word.may_begin == NEVER else _ALLOWED)[walk.previous]
    return max(allowed, key=sums.__getitem__)


def following(
    lexicon: Lexicon, read: Sequence[Token], place: int, size: int, look_ahead: int | None
) -> tuple[Word, Word]:
    """The next two words, as far as they can be seen in a text that ends, or goes on, after `size` characters."""
    after = read[place + 1] if place + 1 < len(read) else None
    second = read[place + 2] if place + 2 < len(read) else None
    if look_ahead is None:
        return after.word if after else NONE, second.word if second else NONE
    limit = min(size, read[place].start + look_ahead)
    return _seen(lexicon, after, limit, size), _seen(lexicon, second, limit, size)


def _seen(lexicon: Lexicon, token: Token | None, limit: int, size: int) -> Word:
    if token is None or token.start >= limit:
        return NONE
    if complete(token, limit) or (limit == size and token.end <= limit):
        return token.word
    return lexicon.read_beginning(token.word.text[: limit - token.start])


def _begins_nothing(walk: Walk, read: Sequence[Token], place: int, size: int) -> bool:
    """Whether an article's or a number's next words show already, whatever they grow to, that nothing begins here: most
    of them do, and need not wait."""
    kind = read[place].word.may_begin
    after = read[place + 1] if place + 1 < len(read) else None
    if after is None or kind not in (ARTICLE, NUMBER):
        return False
    if kind == ARTICLE:
        return complete(after, size) and after.word.text.lower() != "corner"
    if "L" in walk.last.sort[:-1] or after.word.shape[0] in "Xx":
        return False
    if after.word.shape[0] != "d":
        return True
    return place + 2 < len(read) and read[place + 2].word.shape[0] not in "Xx"


class Tagger:
    """Reads a text from left to right and keeps where it stands. `open` is the entity that may still grow."""

    def __init__(self, lexicon: Lexicon, weights: Weights, margin: float, look_ahead: int | None) -> None:
        self._lexicon, self._weights, self._margin, self._look_ahead = lexicon, weights, margin, look_ahead
        self._walk = Walk()
        self.open: Entity | None = None

    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """Entities that are closed, and up to where the text is decided. A token is decided when its end and, where it
        matters, its look-ahead are there; all of it when the text has ended."""
        found: list[Entity] = []
        size, walk = len(text), self._walk
        passage = Passage(self._lexicon, text, start)
        count, place = len(passage.words), -1
        while (place := self._next(passage, place + 1, ended)) < count:
            read = passage.tokens
            token = read[place]
            word = token.word
            if word.shape in ENDS or (walk.previous == OUT and word.may_begin == NEVER):
                if not ended and not complete(token, size):
                    return found, token.start
                self._grow(found, token, OUT)
                walk.step(word, OUT)
                continue
            if walk.previous == OUT and _begins_nothing(walk, read, place, size):
                walk.step(word, OUT)
                continue
            if not ended and (self._look_ahead is None or token.start + self._look_ahead >= size):
                return found, token.start
            after, second = following(self._lexicon, read, place, size, self._look_ahead)
            if walk.previous == OUT and not may_begin(walk, word, after, second):
                walk.step(word, OUT)
                continue
            tag = decide(self._weights, features(walk, word, after, second), walk, word, self._margin)
            if walk.length == _MOST_WORDS and tag not in _BEGINS:
                tag = OUT
            walk.step(word, tag)
            self._grow(found, token, tag)
        if ended and self.open:
            found.append(self.open)
            self.open = None
        return found, size

    def _next(self, passage: Passage, place: int, ended: bool) -> int:
        """The next token that needs a look: outside of an entity most words begin none, and are passed over together.
        Of the last two what comes may show that they are not complete."""
        if self._walk.previous != OUT:
            return place
        sure = len(passage.words) if ended else len(passage.words) - 2
        begins = passage.next_begin(place)
        if begins is not None and begins < sure:
            sure = begins
        if sure <= place:
            return place
        self._walk.pass_over(passage.words[place:sure])
        return sure

    def _grow(self, found: list[Entity], token: Token, tag: int) -> None:
        if tag in (IN_PERSON, IN_ADDRESS) and self.open:
            self.open = Entity(self.open.kind, self.open.start, token.end)
            return
        if self.open:
            found.append(self.open)
        self.open = Entity(_BEGINS[tag], token.start, token.end) if tag in _BEGINS else None

    def shift(self, count: int) -> None:
        """The text's first `count` characters are gone."""
        if self.open:
            self.open = Entity(self.open.kind, self.open.start - count, self.open.end - count)
