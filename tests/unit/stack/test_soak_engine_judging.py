"""What the soak takes for an altered text: an answer is held against a longer one, alone on an undisturbed suite."""

from __future__ import annotations

import pytest

from benchmarks.soak_engine.callers import Seen, judged, patience
from benchmarks.soak_engine.questions import MOST_TOKENS, Question, Turn

QUESTION = Question("Who called?")
WHOLE = "The caller's number was [REDACTED]? Nobody"


def problem(text: str, finish: str = "LENGTH", tokens: int = 20, status: str = "OK", seconds: float = 1.0) -> str:
    seen = Seen(text=text, finish=finish, status=status, seconds=seconds)
    return judged(Turn("whole", QUESTION, tokens), seen, {QUESTION: Seen(text=WHOLE)}, patience=180.0)


@pytest.mark.parametrize(
    "text",
    [
        "The caller's number",
        "The caller's number was [REDACTED]",
        "The caller's [REDACTED]",  # what nothing follows may be a name
        "The caller's number was 138",  # a number's beginning is none yet
    ],
)
def test_an_answer_that_ends_earlier_may_mask_its_end_otherwise(text: str) -> None:
    assert problem(text) == ""


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("The caller's number was 13800138000", "LENGTH"),
        ("The caller's number was 138", "STOP"),
        ("The caller's name", "LENGTH"),
        ("The caller's number was 138? Nobody", "LENGTH"),
        (WHOLE.removesuffix("Nobody"), "STOP"),
    ],
)
def test_any_other_difference_is_told(text: str, finish: str) -> None:
    """Fails if `_begins_a_mask` asks for no length: a number in clear would pass."""
    assert problem(text, finish)


def test_a_cut_at_the_full_length_is_told() -> None:
    assert problem("The caller's", tokens=MOST_TOKENS) == "an answer that is cut off"


def test_what_takes_longer_than_the_machine_explains_is_stuck() -> None:
    assert problem("The caller", status="DEADLINE_EXCEEDED", seconds=181) == "stuck for 181 s"
    assert problem("The caller", status="DEADLINE_EXCEEDED", seconds=20) == "ended as DEADLINE_EXCEEDED"


def test_a_slow_machine_is_given_more_time_and_a_fast_one_no_less() -> None:
    assert patience([Seen(seconds=1.0), Seen(seconds=2.0)]) == 180
    assert patience([Seen(seconds=1.0), Seen(seconds=14.0)]) == 420
