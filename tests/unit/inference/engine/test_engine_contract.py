"""What every engine promises its worker: one suite, each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.inference.engine.echo import EchoEngine
from services.inference.engine.protocol import (
    AlreadyLive,
    Engine,
    EngineFull,
    Finish,
    Message,
    PromptRefused,
    PromptTooLong,
    Sampling,
    StepOutput,
    Work,
)
from services.inference.engine.sampling import NotSupported


@pytest.fixture(params=["echo", "torch"])
def engine(request: pytest.FixtureRequest, tiny_engine: Callable[..., Any]) -> Iterator[Engine]:
    made = EchoEngine(slots=4, context_tokens=600) if request.param == "echo" else tiny_engine("llama")
    yield made
    made.close()
    assert made.live() == frozenset()


def work(request_id: str, text: str = "a b c d e f g", emitted: tuple[int, ...] = (), **sampling: Any) -> Work:
    chosen = Sampling(**({"temperature": 0.0, "max_tokens": 6} | sampling))
    message = Message(role="user", content=text)
    return Work(request_id=request_id, messages=(message,), sampling=chosen, emitted=emitted)


def finish(engine: Engine) -> dict[str, list[StepOutput]]:
    outputs: dict[str, list[StepOutput]] = {}
    while engine.live():
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
    return outputs


def tokens(outputs: list[StepOutput]) -> tuple[int, ...]:
    return tuple(token for output in outputs for token in output.token_ids)


def text(outputs: list[StepOutput]) -> str:
    return "".join(output.text for output in outputs)


def test_a_request_ends_once_with_its_usage(engine: Engine) -> None:
    engine.admit(work("a"))
    outputs = finish(engine)["a"]
    assert [output.last for output in outputs] == [False] * (len(outputs) - 1) + [True]
    assert outputs[-1].finish is Finish.LENGTH
    assert outputs[-1].output_tokens == len(tokens(outputs)) == 6
    assert outputs[-1].input_tokens == engine.prompt_tokens(work("a"))
    timing = outputs[-1].timing
    assert 0 < timing.admitted_ns <= timing.prefill_started_ns <= timing.prefill_finished_ns <= timing.first_token_ns


@pytest.mark.parametrize("cut", range(7))
def test_a_continuation_is_what_was_left(engine: Engine, cut: int) -> None:
    engine.admit(work("whole", temperature=0.8, seed=4))
    whole = finish(engine)["whole"]
    engine.admit(work("rest", temperature=0.8, seed=4, emitted=tokens(whole)[:cut]))
    rest = finish(engine)["rest"]
    assert tokens(rest) == tokens(whole)[cut:]
    assert text(rest) == text(whole[cut:])
    assert rest[-1].finish is whole[-1].finish
    assert rest[-1].output_tokens == whole[-1].output_tokens


def test_an_answer_that_was_already_complete_ends_at_once_with_nothing_new(engine: Engine) -> None:
    engine.admit(work("whole"))
    emitted = tokens(finish(engine)["whole"])
    engine.admit(work("again", emitted=emitted))
    (only,) = engine.step()
    assert (only.finish, only.token_ids, only.text, only.output_tokens) == (Finish.LENGTH, (), "", 6)


def test_a_stop_string_ends_the_answer_before_it(engine: Engine) -> None:
    engine.admit(work("whole", max_tokens=7))
    whole = text(finish(engine)["whole"])
    stop = whole[2:4]
    engine.admit(work("cut", max_tokens=7, stop=(stop,)))
    outputs = finish(engine)["cut"]
    assert text(outputs) == whole[: whole.index(stop)]
    assert outputs[-1].finish is Finish.STOP


def test_cancelling_frees_the_slot_and_says_nothing_more(engine: Engine) -> None:
    before = engine.capacity()
    engine.admit(work("a"))
    engine.admit(work("b"))
    engine.step()
    assert engine.cancel("a")
    assert not engine.cancel("a")
    assert engine.live() == {"b"}
    assert "a" not in finish(engine)
    assert engine.capacity() == before


def test_a_full_engine_refuses_and_takes_the_next_when_one_left(engine: Engine) -> None:
    for number in range(4):
        engine.admit(work(str(number)))
    assert engine.capacity().free_slots == 0
    with pytest.raises(EngineFull):
        engine.admit(work("fifth"))
    engine.cancel("2")
    engine.admit(work("fifth"))
    assert tokens(finish(engine)["fifth"])


def test_the_same_id_cannot_run_twice(engine: Engine) -> None:
    engine.admit(work("a"))
    with pytest.raises(AlreadyLive):
        engine.admit(work("a"))


def test_a_prompt_that_does_not_fit_names_the_bound(engine: Engine) -> None:
    with pytest.raises(PromptTooLong) as refused:
        engine.admit(work("a", "w " * 700, max_tokens=100))
    assert refused.value.bound_tokens == 500
    assert refused.value.prompt_tokens >= 700
    assert engine.live() == frozenset()


@pytest.mark.parametrize("messages", [(), (Message(role="user", content=" \n"),)])
def test_nothing_to_answer_is_refused(engine: Engine, messages: tuple[Message, ...]) -> None:
    with pytest.raises(PromptRefused):
        engine.prompt_tokens(Work(request_id="a", messages=messages, sampling=Sampling(temperature=0)))


@pytest.mark.parametrize(
    "asked",
    [
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.5},
        {"frequency_penalty": -0.5},
        {"logit_bias": ((1, 1.0),)},
        {"min_tokens": 2},
        {"stop_ids": (1,)},
        {"logprobs": 0},
    ],
)
def test_what_an_engine_lacks_is_refused_by_name_and_never_ignored(engine: Engine, asked: dict[str, Any]) -> None:
    (field,) = asked
    if engine.name != "echo":
        engine.admit(work("a", **asked))
        return
    with pytest.raises(NotSupported) as refused:
        engine.admit(work("a", **asked))
    assert refused.value.field == field and "leave it out" in str(refused.value)
    assert engine.live() == frozenset()
