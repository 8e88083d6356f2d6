"""What every engine holds and lets go: room, cancels, deadlines, who goes first, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from services.inference.engine.features import FEATURES
from services.inference.engine.protocol import (
    AlreadyLive,
    Engine,
    EngineFull,
    Message,
    PromptRefused,
    PromptTooLong,
    Sampling,
    Work,
)
from services.inference.engine.sampling import EngineRefusal, Grammar, GrammarKind, NotSupported

MakeWork = Callable[..., Work]
Run = Callable[..., dict[str, Any]]

SECOND = 1_000_000_000
ASKS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.9},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.1},
    "seed": {"seed": 3},
    "max_tokens": {"max_tokens": 2},
    "min_tokens": {"min_tokens": 2},
    "stop": {"stop": ("x",)},
    "stop_ids": {"stop_ids": (1,)},
    "repetition_penalty": {"repetition_penalty": 1.1},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": -0.5},
    "logit_bias": {"logit_bias": ((1, 1.0),)},
    "json_schema": {"grammar": Grammar(kind=GrammarKind.JSON_SCHEMA, text='{"type":"object"}')},
    "regex": {"grammar": Grammar(kind=GrammarKind.REGEX, text="[a-z]+")},
    "logprobs": {"logprobs": 0},
    "top_logprobs": {"logprobs": 2},
    "adapter": {"adapter": "none-of-that-name"},
}


def test_each_feature_that_a_request_can_ask_for_is_asked_for_here() -> None:
    assert set(ASKS) == {feature.name for feature in FEATURES if feature.field}


@pytest.mark.feature("errors")
@pytest.mark.parametrize("feature", [feature for feature in FEATURES if feature.field], ids=lambda one: one.name)
def test_what_an_engine_lacks_is_refused_by_name_and_never_ignored(
    engine: Engine, work: MakeWork, feature: Any
) -> None:
    asked = work("a", **ASKS[feature.name])
    if feature.name not in engine.model.lacks:
        if feature.name != "adapter":  # one that is not loaded is refused for that
            engine.prepare(asked)
            engine.admit(asked)
        return
    for refusing in (engine.prepare, engine.prompt_tokens, engine.admit):
        with pytest.raises(NotSupported) as refused:
            refusing(asked)
        assert refused.value.field == feature.field
        assert "leave it out" in str(refused.value)
    assert engine.live() == frozenset()


@pytest.mark.feature("cancel")
def test_cancelling_frees_the_slot_and_says_nothing_more(engine: Engine, work: MakeWork, finish: Run) -> None:
    before = engine.capacity()
    engine.admit(work("a"))
    engine.admit(work("b"))
    engine.step()
    assert engine.cancel("a")
    assert not engine.cancel("a")
    assert engine.live() == {"b"}
    assert "a" not in finish(engine)
    assert engine.capacity() == before


@pytest.mark.feature("cancel")
def test_one_that_is_cancelled_before_its_first_step_leaves_nothing(engine: Engine, work: MakeWork) -> None:
    before = engine.capacity()
    engine.admit(work("a"))
    assert engine.cancel("a")
    assert engine.step() == []
    assert engine.capacity() == before


@pytest.mark.feature("cancel")
def test_an_id_can_be_used_again_once_it_is_free(engine: Engine, work: MakeWork, finish: Run) -> None:
    engine.admit(work("a"))
    engine.step()
    engine.cancel("a")
    engine.admit(work("a", "b b b"))
    assert finish(engine)["a"].end.output_tokens


@pytest.mark.feature("room")
def test_a_full_engine_refuses_and_takes_the_next_when_one_left(engine: Engine, work: MakeWork, finish: Run) -> None:
    for number in range(4):
        engine.admit(work(str(number)))
    assert engine.capacity().free_slots == 0
    with pytest.raises(EngineFull):
        engine.admit(work("fifth"))
    engine.cancel("2")
    engine.admit(work("fifth"))
    assert finish(engine)["fifth"].tokens


@pytest.mark.feature("errors")
def test_the_same_id_cannot_run_twice(engine: Engine, work: MakeWork) -> None:
    engine.admit(work("a"))
    with pytest.raises(AlreadyLive):
        engine.admit(work("a"))


@pytest.mark.feature("errors")
def test_a_prompt_that_does_not_fit_names_the_bound(engine: Engine, work: MakeWork) -> None:
    with pytest.raises(PromptTooLong) as refused:
        engine.admit(work("a", "w " * 700, max_tokens=100))
    assert refused.value.bound_tokens == 500
    assert refused.value.prompt_tokens >= 700
    assert engine.live() == frozenset()


@pytest.mark.feature("errors")
@pytest.mark.parametrize("messages", [(), (Message(role="user", content=" \n"),)])
def test_nothing_to_answer_is_refused(engine: Engine, messages: tuple[Message, ...]) -> None:
    with pytest.raises(PromptRefused):
        engine.prompt_tokens(Work(request_id="a", messages=messages, sampling=Sampling(temperature=0)))


@pytest.mark.feature("stop_ids")
def test_a_token_that_the_model_has_not_is_refused(engine: Engine, work: MakeWork) -> None:
    with pytest.raises(EngineRefusal) as refused:
        engine.admit(work("a", stop_ids=(10**6,)))
    assert (refused.value.reason, refused.value.field) == ("IMPOSSIBLE_SAMPLING", "stop_ids")


@pytest.mark.feature("deadline")
def test_invariant_9_no_step_holds_a_request_after_its_deadline(engine: Engine, work: MakeWork, finish: Run) -> None:
    """Fails if a scheduler keeps what has expired. An engine that keeps no deadlines leaves that to its worker."""
    if engine.name == "echo":
        pytest.skip("its worker cancels at the deadline: a step takes no time")
    before = engine.capacity()
    engine.admit(work("late", max_tokens=500, deadline_ns=time.monotonic_ns() + SECOND // 50))
    engine.admit(work("mate"))
    told: list[Any] = []
    while engine.live():
        told += engine.step()
    assert not any(output.last for output in told if output.request_id == "late")
    assert any(output.last for output in told if output.request_id == "mate")
    assert engine.capacity() == before


@pytest.mark.feature("priority")
def test_an_urgent_request_is_taken_though_no_slot_is_free_and_nobody_loses_a_token(
    engine: Engine, work: MakeWork, finish: Run
) -> None:
    engine.admit(work("alone", "b b b", max_tokens=400))
    alone = finish(engine)["alone"].tokens
    for number in range(4):
        engine.admit(work(str(number), "b b b", rank=2, max_tokens=400))
    begun = engine.step()
    engine.admit(work("urgent", rank=0))
    told = finish(engine, begun)
    assert told["urgent"].tokens
    assert all(told[str(number)].tokens == alone for number in range(4))


@pytest.mark.feature("prefix_scope")
def test_a_prompts_beginning_is_found_again_within_its_scope_and_changes_no_token(
    engine: Engine, work: MakeWork, finish: Run
) -> None:
    long = "the same long beginning, word for word, " * 6

    def found(request_id: str, scope: str) -> tuple[int, tuple[int, ...]]:
        before = engine.load().prefix_found
        engine.admit(work(request_id, long, scope=scope))
        tokens = finish(engine)[request_id].tokens
        return engine.load().prefix_found - before, tokens

    nothing, first = found("first", "one")
    something, second = found("second", "one")
    other, third = found("third", "another")
    unscoped, fourth = found("fourth", "")
    assert (nothing, other, unscoped) == (0, 0, 0)
    assert something > 0
    assert first == second == third == fourth
