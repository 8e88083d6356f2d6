"""What speaks for a name besides capitals: how sure the tagger was where it began, and whether people are called so."""

from collections.abc import Sequence

from services.guard.redaction.named.words import NONE, Word

# By how much a name must have beaten no name where it began, in log odds, by what is known of its words. Nothing is
# asked behind a title, and of a given name beside a surname. Chosen on prose that has been read since, which is
# tuned_english.txt beside the tests, and on templates left out of the training.
GIVEN, SURNAME, UNKNOWN, UNKNOWN_ALONE = 0.75, 1.75, 2.25, 3.25


class Start:
    """Where a name or an address began: the two words before it, and by how much it beat neither."""

    __slots__ = ("before", "last", "lead")

    def __init__(self, before: Word, last: Word, lead: float) -> None:
        self.before, self.last, self.lead = before, last, lead


NOWHERE = Start(NONE, NONE, 0.0)


def enough(start: Start, words: Sequence[Word]) -> bool:
    """Whether these words, from there on, are taken for a name."""
    if start.lead >= UNKNOWN_ALONE or start.lead >= _asked(words):
        return True
    return "T" in start.last.sort or (start.last.text == "." and "T" in start.before.sort)


def _asked(words: Sequence[Word]) -> float:
    named = [word for word in words if word.shape in ("Xx", "XX", "x") and "Z" not in word.sort]
    alone = len(named) < 2
    given = [word for word in named if "G" in word.sort and not (alone and "c" in word.sort)]
    others = any("S" in word.sort or "G" in word.sort for word in named[1:])
    if given:
        return 0.0 if others else GIVEN
    if others or (named and ("S" in named[0].sort or "G" in named[0].sort)):
        return SURNAME
    return UNKNOWN_ALONE if alone else UNKNOWN
