"""What two lists of tokens show, and what keeps them from showing anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.replays.generation import Generation
from services.audit.replays.judging import Reason, Serving, Verdict, compared, missing, obstacle

MAKER = {
    "model": "m", "revision": "1", "weights_digest": "ab", "template_digest": "cd", "engine": "torch",
    "engine_version": "0.1", "platform": "torch 2 AVX2", "dtype": "float32", "quantization": "", "attention": "sdpa",
    "batch_invariant": True,
}  # fmt: skip
ANSWERS = st.lists(st.lists(st.integers(0, 50_000), max_size=8).map(tuple), min_size=1, max_size=3).map(tuple)


def generation(*answers, maker=MAKER, prompt=(1, 2)) -> Generation:
    return Generation(prompt, answers, (maker,))


@given(ANSWERS)
def test_the_same_tokens_are_exact_whether_the_first_answer_was_whole_or_cut(answers) -> None:
    then = generation(*answers)
    for whole in (True, False):
        found = compared(then, then, whole=whole)
        assert (found.verdict, found.reasons, found.tokens) == (Verdict.EXACT, (), then.tokens)


@given(ANSWERS, st.data())
def test_the_first_other_token_is_named_wherever_it_is(answers, data) -> None:
    """Fails if `_parted` counts from 1, or if tokens of the answers before it are not counted as the same."""
    choice = data.draw(st.integers(0, len(answers) - 1))
    token = data.draw(st.integers(0, len(answers[choice])))
    changed = [list(answer) for answer in answers]
    if token < len(changed[choice]):
        changed[choice][token] += 1
    else:
        changed[choice].append(7)
    for other in changed[choice + 1 :]:  # what comes behind does not count
        other.append(9)
    found = compared(generation(*answers), generation(*map(tuple, changed)), whole=True)
    same = sum(map(len, answers[:choice])) + token
    assert (found.verdict, found.choice, found.token, found.tokens) == (Verdict.DIVERGED, choice, token, same)


def test_an_answer_that_was_cut_short_may_go_on_and_one_that_was_whole_may_not() -> None:
    cut, longer = generation((5, 6)), generation((5, 6, 7))
    assert compared(cut, longer, whole=False).verdict == Verdict.EXACT
    assert compared(cut, longer, whole=True).token == 2
    assert compared(longer, cut, whole=False).token == 2, "a replay that ends before is another answer"


@pytest.mark.parametrize("word", [word for word in MAKER if word != "batch_invariant"])
def test_nothing_is_compared_where_what_makes_the_answer_is_another(word) -> None:
    """Fails if a word is left out of what must be the same."""
    other = {**MAKER, word: "another"}
    found = compared(generation((5,)), generation((5,), maker=other), whole=True)
    reason = "OTHER_WEIGHTS" if word == "weights_digest" else f"OTHER_{word.removesuffix('_digest').upper()}"
    assert (found.verdict, found.reasons) == (Verdict.NOT_REPLAYABLE, (reason,))
    short_of = missing(MAKER, ("", ""), [Serving(other, {})])
    assert short_of == (["MODEL_NOT_SERVED"] if word == "model" else [reason])


def test_other_tokens_accuse_the_model_only_where_batch_mates_cannot_have_changed_them() -> None:
    loose = {**MAKER, "dtype": "bfloat16", "batch_invariant": False}
    found = compared(generation((5, 6), maker=loose), generation((5, 7), maker=loose), whole=True)
    assert (found.verdict, found.reasons, found.token) == (Verdict.NOT_REPLAYABLE, ("NOT_DETERMINISTIC",), 1)
    same = compared(generation((5, 6), maker=loose), generation((5, 6), maker=loose), whole=True)
    assert same.verdict == Verdict.EXACT


def test_another_prompt_is_no_replay() -> None:
    found = compared(generation((5,)), generation((5,), prompt=(1, 3)), whole=True)
    assert (found.verdict, found.reasons) == (Verdict.NOT_REPLAYABLE, ("OTHER_PROMPT",))


def test_what_a_record_lacks_for_a_replay_is_named() -> None:
    whole = generation((5,))
    assert obstacle(whole) is None
    assert obstacle(None) == obstacle(generation(())) == Reason.NO_TOKENS
    assert obstacle(replace(whole, makers=(MAKER, {**MAKER, "dtype": "bfloat16"}))) == Reason.MADE_BY_SEVERAL
    assert obstacle(generation((5,), maker={**MAKER, "weights_digest": ""})) == Reason.WEIGHTS_UNKNOWN
    assert compared(whole, None, whole=True).reasons == ("NO_TOKENS",)


def test_one_live_worker_that_is_alike_is_enough_and_its_adapter_must_be_the_very_same() -> None:
    other = Serving({**MAKER, "dtype": "bfloat16", "platform": "x"}, {"tone": "aa"})
    alike = Serving(MAKER, {"tone": "bb"})
    assert missing(MAKER, ("", ""), [other, alike]) == []
    assert missing(MAKER, ("tone", "bb"), [other, alike]) == []
    assert missing(MAKER, ("tone", "aa"), [other, alike]) == ["ADAPTER_GONE"], "the nearest is told"
    assert missing(MAKER, ("", ""), []) == ["MODEL_NOT_SERVED"]
