"""Names and addresses in Latin, Greek and Cyrillic letters: a linear tagger that walks over the words that matter."""

from typing import Final

from services.guard.redaction.named import evidence
from services.guard.redaction.named.codes import COUNT, ends_within, within_code
from services.guard.redaction.named.entity import ADDRESS, NONE_GROWS, PERSON, Entity, Reader
from services.guard.redaction.named.passage import Passage, Rest
from services.guard.redaction.named.tag_scores import (
    BEGIN_ADDRESS,
    BEGIN_PERSON,
    IN_ADDRESS,
    IN_PERSON,
    OUT,
    TAGS,
    Scores,
    Walk,
)
from services.guard.redaction.named.words import (
    ALWAYS,
    ARTICLE,
    BOTH,
    ENDS,
    FIRM,
    HAN,
    NEVER,
    NONE,
    NOTHING,
    NUMBER,
    Lexicon,
    Word,
)

_BEGINS: Final = {BEGIN_PERSON: PERSON, BEGIN_ADDRESS: ADDRESS}
_OF_FORMS: Final = frozenset(":=d")  # shapes behind a word of trade that make a form's field of it
_CORNER: Final = "corner"  # what makes an address of an article
_MOST_WORDS: Final = 32  # of one name or address


def may_begin(walk: Walk, word: Word, after: Word, second: Word) -> bool:
    """Whether a name or an address may begin with this word. With a number: where words follow, or a place stands
    before it. With an article: "the corner of"."""
    if word.may_begin == ARTICLE:
        return after.text.lower() == _CORNER
    if word.may_begin != NUMBER:
        return word.may_begin == ALWAYS and after.text != "@"
    if _street_like(after) or (after.number and _street_like(second)):
        return True
    return walk.last.place


def _street_like(word: Word) -> bool:
    """A word that may follow a house number: with a capital, or no ordinary one. A month makes a date of it."""
    return (word.capital and word.sort[0] != "M") or (word.shape == "x" and not word.sort.endswith("cx"))


_ALLOWED: Final = {
    OUT: (OUT, BEGIN_PERSON, BEGIN_ADDRESS),
    BEGIN_PERSON: (OUT, BEGIN_PERSON, IN_PERSON, BEGIN_ADDRESS),
    IN_PERSON: (OUT, BEGIN_PERSON, IN_PERSON, BEGIN_ADDRESS),
    BEGIN_ADDRESS: (OUT, BEGIN_PERSON, BEGIN_ADDRESS, IN_ADDRESS),
    IN_ADDRESS: (OUT, BEGIN_PERSON, BEGIN_ADDRESS, IN_ADDRESS),
}


# What may follow a word that begins nothing, and one that makes a firm of the name before it.
_NO_BEGIN: Final = {OUT: (OUT,)} | {tag: tuple(t for t in _ALLOWED[tag] if t not in _BEGINS) for tag in range(1, TAGS)}
_NO_NAME: Final = {tag: tuple(t for t in allowed if t != IN_PERSON) for tag, allowed in _NO_BEGIN.items()}
_NEITHER: Final[dict[int, tuple[int, ...]]] = dict.fromkeys(range(TAGS), (OUT,))


def _allowed(word: Word) -> dict[int, tuple[int, ...]]:
    """The tags that may stand here, by the tag before."""
    if word.ends != NOTHING:
        return _NEITHER if word.ends == BOTH else _NO_NAME
    return _NO_BEGIN if word.may_begin == NEVER else _ALLOWED


def _begins_nothing(walk: Walk, passage: Passage, place: int) -> bool:
    """Whether an article's or a number's next words show already, whatever they grow to, that nothing begins here: most
    of them do, and need not wait."""
    words = passage.words
    kind = words[place].may_begin
    if kind == ALWAYS or place + 1 >= len(words):
        return False
    after = words[place + 1]
    if kind == ARTICLE:
        seen = after.text.lower()
        return seen != _CORNER if passage.complete(place + 1, passage.size) else not _CORNER.startswith(seen)
    if walk.last.place or after.capital or after.shape[0] == "x":
        return False
    if not after.number:
        return True
    return place + 2 < len(words) and words[place + 2].shape[0] not in "Xx"


class Tagger(Reader):
    """Keeps where it stands."""

    def __init__(self, lexicon: Lexicon, scores: Scores, look_ahead: int | None) -> None:
        self._lexicon, self._scores, self._look_ahead = lexicon, scores, look_ahead
        super().__init__()
        self._walk = Walk()
        self._kind, self._end = PERSON, 0  # of the entity that grows
        self._words: list[Word] = []
        self._start = evidence.NOWHERE
        self._rest: Rest | None = None  # words that are there and wait for more

    def read(self, text: str, start: int, ended: bool) -> tuple[list[Entity], int]:
        """Entities that are closed, and up to where the text is decided. A token is decided when its end and, where it
        matters, its look-ahead are there; all of it when the text has ended."""
        found: list[Entity] = []
        walk = self._walk
        passage = Passage(self._lexicon, text, start, self._rest)
        self._rest, self.free_to = None, start
        words, count, place = passage.words, len(passage.words), -1
        while (place := self._next(passage, place + 1, ended)) < count:
            word = words[place]
            outside = walk.previous == OUT
            if word.shape in ENDS or (outside and word.may_begin == NEVER):
                if not ended and not passage.complete(place, passage.size):
                    if word.shape == HAN:  # whatever it grows to
                        self._close(found, text, word, NONE)
                        self.free_to = passage.size
                    return found, self._wait(passage, place)
                self._close(found, text, word, NONE)
                walk.step(word, OUT)
                continue
            if outside and _begins_nothing(walk, passage, place):
                walk.step(word, OUT)
                continue
            if not ended and not self._sees_enough(passage, place):
                return found, self._wait(passage, place)
            after, second = passage.following(place, self._look_ahead)
            if outside and (not may_begin(walk, word, after, second) or within_code(text, passage.begin(place))):
                walk.step(word, OUT)
                continue
            tag = self._scores.best(_allowed(word)[walk.previous], walk, word, after, second)
            if walk.length == _MOST_WORDS and tag not in _BEGINS:
                tag = OUT
            begun = evidence.NOWHERE
            if tag in _BEGINS:
                begun = evidence.Start(walk.before, walk.last, self._scores.lead(tag))
            walk.step(word, tag)
            if tag == OUT or tag in _BEGINS:
                self._close(found, text, word, after)
                self._start, self._words = begun, []
            if tag != OUT:
                self._words.append(word)
                self._grow(passage.begin(place), passage.end(place), tag)
        if ended:
            self._close(found, text, NONE, NONE)
        return found, passage.size

    def _wait(self, passage: Passage, place: int) -> int:
        """Where the word begins that is not decided yet."""
        self._rest = passage.rest(place)
        return passage.begin(place)

    def _sees_enough(self, passage: Passage, place: int) -> bool:
        """All of the look-ahead, or as much of it as is looked at: the next two words, and what is glued to this."""
        if self._look_ahead is None:
            return False
        if passage.begin(place) + self._look_ahead < passage.size:
            return True
        return passage.shows_two(place, self._look_ahead) and ends_within(passage.text, passage.begin(place))

    def _next(self, passage: Passage, place: int, ended: bool) -> int:
        """The next token that needs a look: outside of an entity most words begin none, and are passed over together.
        Of the last two what comes may show that they are not complete."""
        walk = self._walk
        if walk.previous != OUT:
            return place
        sure = len(passage.words) if ended else len(passage.words) - 2
        begins = passage.next_begin(place)
        if begins is not None and begins < sure:
            sure = begins
        if sure <= place:
            return place
        walk.before = passage.words[sure - 2] if sure - place > 1 else walk.last
        walk.last = passage.words[sure - 1]
        return sure

    def _grow(self, start: int, end: int, tag: int) -> None:
        if tag in _BEGINS:
            self._kind, self.growing = _BEGINS[tag], start
        self._end = end

    def _close(self, found: list[Entity], text: str, word: Word, after: Word) -> None:
        """Ends the open entity before `word`. Now it may show that it is none: the first part of a firm's name, all of
        one that everybody knows, what little speaks for, or a count of something."""
        start, self.growing = self.growing, NONE_GROWS
        if start == NONE_GROWS:
            return
        if self._kind == PERSON:
            of_a_firm = word.ends == FIRM and after.shape[0] not in _OF_FORMS
            if of_a_firm or not evidence.enough(self._start, self._words):
                return
        said = text[start : self._end]
        if said.lower() not in self._lexicon.firms and not (COUNT.match(said) and not self._road_in(said)):
            found.append(Entity(self._kind, start, self._end))

    def _road_in(self, said: str) -> bool:
        return any(not {"R", "U"}.isdisjoint(self._lexicon.classes.get(word, "")) for word in said.split())

    def shift(self, count: int) -> None:
        super().shift(count)
        self._end -= count
