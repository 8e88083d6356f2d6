"""What openvino-genai is told of a request's sampling; it is not needed for that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.openvino_sampling import HAS, generation, narrow
from services.inference.engine.sampling import Sampling

ENDS = frozenset({2})


def test_a_draw_is_told_with_its_seed_and_only_what_narrows_it() -> None:
    told = generation(Sampling(temperature=0.7, top_p=0.9, seed=11, max_tokens=9), ENDS)
    assert told == {
        "max_new_tokens": 9, "min_new_tokens": 0, "stop_token_ids": {2}, "ignore_eos": False, "logprobs": 0,
        "do_sample": True, "temperature": 0.7, "rng_seed": 11, "top_p": 0.9,
    }  # fmt: skip


@pytest.mark.parametrize(
    "asked", [{"temperature": 0.0}, {"temperature": 1.0, "top_k": 1}, {"temperature": 1.0, "min_p": 1.0}]
)
def test_one_token_to_choose_from_is_greedy_and_names_nothing_of_a_draw(asked: dict[str, float]) -> None:
    told = generation(Sampling(**asked, seed=3), ENDS)  # type: ignore[arg-type]
    assert not told["do_sample"]
    assert not {"temperature", "rng_seed", "top_p", "top_k", "min_p"} & told.keys()


def test_a_model_without_an_end_goes_on_to_its_limit() -> None:
    assert generation(Sampling(temperature=0), frozenset())["ignore_eos"]
    assert generation(Sampling(temperature=0, stop_ids=(5,)), frozenset())["stop_token_ids"] == {5}


def test_stop_strings_are_not_told_but_kept_by_us() -> None:
    assert "stop_strings" not in generation(Sampling(temperature=0, stop=("x",)), ENDS)
    assert "stop" in HAS


@given(said=st.integers(0, 50), least=st.integers(0, 50), more=st.integers(1, 50))
def test_what_the_prompt_holds_of_the_answer_counts_as_said(said: int, least: int, more: int) -> None:
    told = generation(Sampling(temperature=0, max_tokens=50 + more, min_tokens=least), ENDS, said=said)
    assert told["max_new_tokens"] + said == 50 + more
    assert told["min_new_tokens"] == max(least - said, 0) <= told["max_new_tokens"]


@given(
    temperature=st.floats(0, 100), top_p=st.floats(1e-6, 1), top_k=st.integers(0, 1000), min_p=st.floats(0, 1),
    penalty=st.floats(0.1, 10), seed=st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_what_is_told_is_within_the_bounds_of_its_own_check(
    temperature: float, top_p: float, top_k: int, min_p: float, penalty: float, seed: int
) -> None:
    """Those of GenerationConfig::validate."""
    sampling = Sampling(
        temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, repetition_penalty=penalty, seed=seed
    )
    told = generation(sampling, ENDS)
    assert told["do_sample"] != narrow(sampling)
    if told["do_sample"]:
        assert told["temperature"] > 0
        assert 0 < told.get("top_p", 1) <= 1
        assert 0 <= told.get("min_p", 0) < 1
        assert told.get("top_k", 1) > 0
    assert told.get("repetition_penalty", 1.0) > 0
