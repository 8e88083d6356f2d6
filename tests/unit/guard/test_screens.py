"""What rules recognizers out without asking them rules out none that would find something."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.redaction import sentences
from services.guard.redaction import birth, card, context, said, secret
from services.guard.redaction.characters import _FOLDS, _fold_one
from services.guard.redaction.masking import Masking
from services.guard.redaction.recognizers import RECOGNIZERS
from services.guard.redaction.redactor import redact
from services.guard.redaction.stretch import Recognizer, Stretch
from services.guard.redaction.table import Table

SEED = 31

CONTEXTS = [
    (said.TELEPHONE, context.TELEPHONE),
    (said.TELEPHONE, context.NAMED_TELEPHONE),
    (said.CARD, context.CARD),
    (said.IDENTITY, context.IDENTITY),
    (said.SSN, context.SSN),
    (said.AMOUNT, context.AMOUNT_BEFORE),
    (said.PASSPORT, context.PASSPORT),
    (said.PERMIT, context.PERMIT),
    (said.BIRTH, context.BIRTH),
    (said.BIRTH, birth._AFTER),
    (said.SWIFT, context.SWIFT),
    (said.SECRET, secret._NAMED),
]


class Watched(Table):
    """Asks those that are ruled out, too."""

    asked = 0

    def fitting(self, stretch: Stretch) -> list[Recognizer]:
        fitting = super().fitting(stretch)
        for one in RECOGNIZERS:
            if one not in fitting:
                self.asked += 1
                assert one.find(stretch) == [], (one, stretch.content)
        return fitting


def test_what_is_ruled_out_would_have_found_nothing(maskings: Mapping[str, Masking]) -> None:
    """Fails if a screen asks for more than its pattern does: [0-9]{8} for a passport's, say."""
    table = Watched(RECOGNIZERS)
    for row in sentences.corpus(600, seed=SEED).rows:
        redact(maskings, row.text, table)
    assert table.asked > 10_000


@pytest.mark.parametrize(("kind", "pattern"), CONTEXTS)
def test_a_context_is_looked_for_wherever_one_of_its_words_stands(kind: int, pattern: re.Pattern[str]) -> None:
    """Fails if a pattern gains a word that its kind has not."""

    @settings(max_examples=150, deadline=None)
    @given(text=st.from_regex(pattern))
    def every_match_has_one(text: str) -> None:
        assert said.said_in(text.lower()) & kind

    every_match_has_one()


@settings(deadline=None)
@given(number=st.from_regex(r"[0-9]{12,19}", fullmatch=True))
def test_luhn_doubles_every_second_digit_from_the_right(number: str) -> None:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    assert card.luhn(number) is ((sum(digits[::2]) + sum(doubled)) % 10 == 0)


def test_characters_that_are_taken_as_they_are_fold_to_themselves() -> None:
    """Fails if the range of what is alike holds a character that is not, such as the tilde."""
    points = [*range(128), *range(0x2E00, 0xA100), *range(0xFE00, 0x10000)]
    for part in (points[:128], points):
        text = "".join(map(chr, part))
        assert _FOLDS.fold(text) == "".join(map(_fold_one, text))
