"""The tagger's sums, kept for each group of features, are what its weights say of every feature one by one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.redaction.named.entity import LOOK_AHEAD
from services.guard.redaction.named.model import FILE, load
from services.guard.redaction.named.passage import Passage
from services.guard.redaction.named.tag_scores import MOST, TAGS, Scores, Walk, features

CONTENTS = json.loads(FILE.read_text(encoding="utf-8"))
WEIGHTS, MARGIN = CONTENTS["western"], CONTENTS["margins"]["western"]
SPACED = "Mr Dear Eleanor Whitfield eleanor Smith-Jones of the corner 27 221B Harbour Street Boston MA 02118 Bank 客户"
WORD = st.sampled_from([*SPACED.split(), *["call", "O'", "'s", "Sir", "Ltd", "März", "Ω", ",", ".", "x", "I"], "\n"])
WORDS = st.lists(WORD, min_size=1, max_size=12).map(" ".join)
TAGGED = st.lists(st.integers(0, TAGS - 1), min_size=12, max_size=12)


def one_by_one(values: list[str]) -> list[float]:
    rows = [table[value] for table, value in zip(WEIGHTS, values, strict=True) if value in table]
    return [sum(row[tag] for row in rows) + (MARGIN if tag == 0 else 0) for tag in range(TAGS)]


@settings(max_examples=200, deadline=None)
@given(text=WORDS, tags=TAGGED)
def test_the_best_tag_is_the_one_with_the_greatest_sum(text: str, tags: list[int]) -> None:
    """Fails if a group leaves out of its key what one of its features looks at, such as the line that led."""
    passage, walk, scores = Passage(load().western, text), Walk(), load().western_scores
    for place, word in enumerate(passage.words[: len(tags)]):
        after, second = passage.following(place, LOOK_AHEAD)
        sums = one_by_one(features(walk, word, after, second))
        best = scores.best(range(TAGS), walk, word, after, second)
        assert sums[best] == pytest.approx(max(sums))
        walk.step(word, tags[place])


def test_weights_that_would_run_into_each_other_are_refused() -> None:
    """Fails if the greatest weight is not looked at when they are packed."""
    with pytest.raises(ValueError, match=str(MOST)):
        Scores([{"word": [0.0, MOST + 0.01]}] * len(WEIGHTS), 0.0)
