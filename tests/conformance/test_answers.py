"""What every engine answers: pieces, counts, ends, and the same again after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.inference.engine.protocol import Engine, Finish, Work

MakeWork = Callable[..., Work]
Run = Callable[..., dict[str, Any]]


@pytest.mark.feature("usage", "max_tokens")
def test_a_request_ends_once_with_its_usage(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("a"))
    told = finish(engine)["a"]
    assert [output.last for output in told] == [False] * (len(told) - 1) + [True]
    assert told.end.finish is Finish.LENGTH
    assert told.end.output_tokens == len(told.tokens) == 6
    assert told.end.input_tokens == engine.prompt_tokens(work("a"))
    timing = told.end.timing
    assert 0 < timing.admitted_ns <= timing.prefill_started_ns <= timing.prefill_finished_ns <= timing.first_token_ns


@pytest.mark.feature("streaming")
def test_an_answer_comes_in_pieces_as_it_is_made(engine: Engine, work: MakeWork) -> None:
    engine.admit(work("a", max_tokens=7))
    while engine.live():
        for output in engine.step():
            if output.token_ids:
                assert output.output_tokens < 7, "nothing was told before the end"
                engine.cancel("a")
                return
    pytest.fail("no token was told")


@pytest.mark.feature("continuation")
@pytest.mark.parametrize("cut", [0, 1, 4, 6])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_continuation_is_what_was_left(
    engine: Engine, work: MakeWork, finish: Run, temperature: float, cut: int
) -> None:
    asked = {"temperature": temperature, "seed": 4}
    engine.admit(work("whole", **asked))
    whole = finish(engine)["whole"]
    engine.admit(work("rest", emitted=whole.tokens[:cut], **asked))
    rest = finish(engine)["rest"]
    assert rest.tokens == whole.tokens[cut:]
    assert whole.text.endswith(rest.text)
    assert (rest.end.finish, rest.end.output_tokens) == (whole.end.finish, whole.end.output_tokens)


@pytest.mark.feature("continuation")
def test_an_answer_that_was_already_complete_ends_at_once_with_nothing_new(
    engine: Engine, work: MakeWork, finish: Run
) -> None:
    engine.admit(work("whole"))
    engine.admit(work("again", emitted=finish(engine)["whole"].tokens))
    [only] = engine.step()
    assert (only.finish, only.token_ids, only.text, only.output_tokens) == (Finish.LENGTH, (), "", 6)


@pytest.mark.feature("stop")
def test_a_stop_string_ends_the_answer_before_it(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("whole", max_tokens=7))
    whole = finish(engine)["whole"].text
    stop = whole[2:4]
    engine.admit(work("cut", max_tokens=7, stop=(stop,)))
    told = finish(engine)["cut"]
    assert told.text == whole[: whole.index(stop)]
    assert told.end.finish is Finish.STOP
    assert told.end.output_tokens == len(told.tokens)


@pytest.mark.feature("stop_ids")
def test_a_stop_token_ends_the_answer_and_is_no_text(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("whole", max_tokens=12))
    whole = finish(engine)["whole"].tokens
    stop = next(token for token in whole if token != whole[0])
    before = whole.index(stop)
    engine.admit(work("cut", max_tokens=12, stop_ids=(stop,)))
    engine.admit(work("bare", max_tokens=before))
    told = finish(engine)
    assert told["cut"].tokens == whole[: before + 1]
    assert told["cut"].end.finish is Finish.STOP
    assert told["cut"].text == told["bare"].text


@pytest.mark.feature("stop_ids", "min_tokens")
def test_an_end_is_not_chosen_before_min_tokens(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("whole"))
    first = finish(engine)["whole"].tokens[0]
    engine.admit(work("long", stop_ids=(first,), min_tokens=4))
    assert first not in finish(engine)["long"].tokens[:4]
