"""The torch engine on tiny random models: invariant 11, failures that stay with one request, the bounds."""

from __future__ import annotations

import copy
import dataclasses
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.batch import Segment
from services.inference.engine.protocol import Failure, Message, Sampling, StepOutput, Work
from services.inference.engine.torch_engine import TorchEngine
from services.inference.models.prompt import Prompt

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "qwen2-sliding", "deepseek-v2", "deepseek-v3"]
TEXTS = ["ab", "the quick brown fox", "x" * 150, "中文和 English", "0123456789 " * 9, "q"]


def work(number: int, *, temperature: float = 0.0, max_tokens: int = 12, text: str | None = None) -> Work:
    sampling = Sampling(temperature=temperature, top_p=0.95, seed=number, max_tokens=max_tokens)
    message = Message(role="user", content=TEXTS[number] if text is None else text)
    return Work(request_id=f"r{number}", messages=(message,), sampling=sampling)


def finish(engine: TorchEngine, arrivals: Iterable[tuple[int, Work]] = ()) -> dict[str, list[StepOutput]]:
    """Admit each work at its step, run until nothing is left."""
    waiting = sorted(arrivals, key=lambda arrival: arrival[0])
    outputs: dict[str, list[StepOutput]] = {}
    step = 0
    while waiting or engine.live():
        while waiting and waiting[0][0] <= step and engine.capacity().free_slots:
            engine.admit(waiting.pop(0)[1])
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        step += 1
    return outputs


def tokens(outputs: list[StepOutput]) -> list[int]:
    return [token for output in outputs for token in output.token_ids]


def alone(engine: TorchEngine, one: Work) -> list[int]:
    return tokens(finish(engine, [(0, one)])[one.request_id])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [5, 64])
def test_invariant_11_greedy_is_what_generate_gives_whatever_the_batch(
    family: str, chunk: int, tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any]
) -> None:
    """Fails if `SlotOrder.remove` leaves out `_fill`, so that a row reads another row's cache."""
    engine = tiny_engine(family, prefill_tokens=chunk)
    works = [work(number, max_tokens=6 + 3 * number) for number in range(len(TEXTS))]
    outputs = finish(engine, [(number * 2, one) for number, one in enumerate(works)])
    for one in works:
        ids = engine._prompt.ids(one.messages)
        reference = tiny_model(family).generate(
            torch.tensor([ids]), max_new_tokens=one.sampling.max_tokens, do_sample=False
        )
        assert tokens(outputs[one.request_id]) == reference[0, len(ids) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_11_sampled_tokens_do_not_depend_on_batch_mates(
    family: str, tiny_engine: Callable[..., TorchEngine]
) -> None:
    """Fails if `choose` takes its number from a generator that all rows share."""
    engine = tiny_engine(family, prefill_tokens=16)
    works = [work(number, temperature=1.0) for number in range(len(TEXTS))]
    single = {one.request_id: alone(engine, one) for one in works}
    together = finish(engine, [(number, one) for number, one in enumerate(reversed(works))])
    assert {name: tokens(outputs) for name, outputs in together.items()} == single


@pytest.mark.parametrize("family", FAMILIES)
def test_invariant_11_logits_have_the_same_bits_in_any_batch_and_any_chunking(
    family: str, tiny_engine: Callable[..., TorchEngine]
) -> None:
    """Fails if `install` registers plain SDPA, or `replace_linears` returns without replacing."""

    def logits(chunk: int, mates: list[Work]) -> list[torch.Tensor]:
        engine = tiny_engine(family, prefill_tokens=chunk)
        seen: list[torch.Tensor] = []
        choose = engine._choose

        def spy(rows: Any, logits: torch.Tensor) -> list[int | None]:
            seen.extend(row.clone() for sequence, row in zip(rows, logits) if sequence.work.request_id == "r2")
            return choose(rows, logits)

        engine._choose = spy  # type: ignore[method-assign, assignment]
        finish(engine, [(0, work(2)), *((number, mate) for number, mate in enumerate(mates))])
        return seen

    reference = logits(1000, [])
    for chunk, mates in ((1, []), (7, [work(0)]), (64, [work(1), work(3), work(4, max_tokens=30)])):
        assert all(torch.equal(a, b) for a, b in zip(reference, logits(chunk, mates), strict=True))


@settings(max_examples=8, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 5), st.booleans()), min_size=1, max_size=8, unique_by=lambda p: p[1]
    ),
    chunk=st.sampled_from([1, 9, 200]),
)
def test_invariant_11_arrivals_and_cancels_in_any_order_change_no_other_answer(
    plan: list[tuple[int, int, bool]], chunk: int, shared_engine: dict[int, TorchEngine], singles: dict[str, list[int]]
) -> None:
    """Fails if `promote` swaps the rows but not their cache."""
    engine = shared_engine[chunk]
    cancelled = {f"r{number}" for _, number, cancel in plan if cancel}
    waiting = sorted(plan)
    got: dict[str, list[StepOutput]] = {}
    step = 0
    while waiting or engine.live():
        while waiting and waiting[0][0] <= step and engine.capacity().free_slots:
            engine.admit(work(waiting.pop(0)[1], temperature=0.9))
        for output in engine.step():
            got.setdefault(output.request_id, []).append(output)
        for name in cancelled & engine.live():
            if len(got.get(name, [])) >= 2:
                engine.cancel(name)
        step += 1
    for name, outputs in got.items():
        expected = singles[name]
        assert tokens(outputs) == (expected[: len(tokens(outputs))] if name in cancelled else expected)


@pytest.fixture(scope="module")
def shared_engine(tiny_engine: Callable[..., TorchEngine]) -> dict[int, TorchEngine]:
    return {chunk: tiny_engine("llama", prefill_tokens=chunk) for chunk in (1, 9, 200)}


@pytest.fixture(scope="module")
def singles(shared_engine: dict[int, TorchEngine]) -> dict[str, list[int]]:
    engine = shared_engine[200]
    return {f"r{number}": alone(engine, work(number, temperature=0.9)) for number in range(len(TEXTS))}


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_invariant_11_guessed_tokens_change_no_answer(
    tiny_engine: Callable[..., TorchEngine], temperature: float
) -> None:
    """Fails if `_follow_guess` keeps a guess without asking what is chosen there, or if `_passed` counts only `count`
    as cached: a row that ends then moves another one without the keys of its guess."""
    plain, guessing = (tiny_engine("llama", guess_rows=rows, prefill_tokens=64) for rows in (0, 4))
    few = tuple((token, 60.0) for token in b"abc")  # of three tokens, what was said before is soon said again
    works = [work(n % 6, temperature=temperature, max_tokens=(90, 13, 40, 22)[n % 4]) for n in range(12)]
    works = [
        dataclasses.replace(one, request_id=f"r{n}", sampling=dataclasses.replace(one.sampling, logit_bias=few, seed=n))
        for n, one in enumerate(works)
    ]
    answers = [finish(engine, [(0, one) for one in works]) for engine in (plain, guessing)]
    for name, outputs in answers[0].items():
        assert tokens(answers[1][name]) == tokens(outputs)
        assert "".join(output.text for output in answers[1][name]) == "".join(output.text for output in outputs)
    load = guessing.load()
    assert 0 < load.guessed_right <= load.guessed and load.steps < plain.load().steps


def test_a_request_that_breaks_the_forward_pass_fails_alone(
    tiny_engine: Callable[..., TorchEngine], faulty: Any
) -> None:
    engine = tiny_engine("llama")
    expected = {f"r{number}": alone(engine, work(number, max_tokens=20)) for number in (0, 1, 2, 3)}
    others = {token for name in ("r0", "r2", "r3") for token in expected[name][:7]} | set("".join(TEXTS).encode())
    place = next(n for n, token in enumerate(expected["r1"]) if n > 1 and token not in others)
    poison = expected["r1"][place]
    handle = _raise_on(faulty, engine, poison, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    outputs = finish(engine, [(0, work(number, max_tokens=20 if number == 1 else 7)) for number in (0, 1, 2, 3)])
    handle.remove()
    assert outputs["r1"][-1].failure is Failure.OUT_OF_MEMORY
    assert tokens(outputs["r1"]) == expected["r1"][: place + 1]
    for name in ("r0", "r2", "r3"):
        assert tokens(outputs[name]) == expected[name][:7]
    assert engine.capacity().free_slots == 4


def test_the_halves_of_a_failed_pass_run_without_what_it_held(
    tiny_engine: Callable[..., TorchEngine], faulty: Any
) -> None:
    """Fails if they run inside the `except`: the error's traceback keeps the memory that the pass lacked."""
    engine = tiny_engine("llama")
    held: list[weakref.ref[torch.Tensor]] = []
    still_there: list[int] = []

    def work_in_memory(segments: Sequence[Segment]) -> None:
        still_there.append(sum(reference() is not None for reference in held))
        if len(segments) > 1:
            scratch = torch.zeros(len(segments))
            held.append(weakref.ref(scratch))
            raise torch.OutOfMemoryError

    handle = faulty(engine, work_in_memory)
    outputs = finish(engine, [(0, work(number)) for number in range(4)])
    handle.remove()
    assert held and not any(still_there)
    assert all(got[-1].failure is None for got in outputs.values())


def test_a_token_id_that_the_model_does_not_have_ends_its_own_request(tiny_engine: Callable[..., TorchEngine]) -> None:
    engine = tiny_engine("llama")
    expected = alone(engine, work(0))
    lost = dataclasses.replace(work(1), emitted=(259,))
    outputs = finish(engine, [(0, work(0)), (0, lost)])
    assert outputs["r1"][-1].failure is Failure.ENGINE_ERROR
    assert tokens(outputs["r0"]) == expected


def test_a_prompt_that_breaks_prefill_fails_and_the_engine_goes_on(
    tiny_engine: Callable[..., TorchEngine], faulty: Any
) -> None:
    engine = tiny_engine("llama")
    expected = alone(engine, work(0))
    handle = _raise_on(faulty, engine, ord("!"), RuntimeError("shape"))
    outputs = finish(engine, [(0, work(0)), (0, work(1, text="boom!"))])
    handle.remove()
    assert outputs["r1"][-1].failure is Failure.ENGINE_ERROR
    assert outputs["r1"][-1].text == ""
    assert tokens(outputs["r0"]) == expected


def test_numbers_that_are_not_finite_fail_the_request_and_do_not_stay_in_the_cache(
    tiny_engine: Callable[..., TorchEngine],
) -> None:
    engine = tiny_engine("llama", slots=1)
    expected = alone(engine, work(2))
    poison = ord("!")
    embedding = engine._runner.embedding
    kept = embedding[poison].clone()
    embedding[poison] = float("nan")
    assert finish(engine, [(0, work(1, text="y" * 300 + "!"))])["r1"][-1].failure is Failure.NOT_FINITE
    embedding[poison] = kept
    assert alone(engine, work(2)) == expected


def test_short_prompts_do_not_wait_for_a_long_one(tiny_engine: Callable[..., TorchEngine]) -> None:
    engine = tiny_engine("llama", prefill_tokens=16)
    engine.admit(work(2, text="x" * 500, max_tokens=2))
    engine.admit(work(0, max_tokens=40))
    first: list[str] = []
    while engine.live():
        first += [output.request_id for output in engine.step() if output.token_ids]
    assert first[0] == "r0"


def test_an_urgent_prompt_passes_those_of_lesser_classes_and_stops_none(
    tiny_engine: Callable[..., TorchEngine],
) -> None:
    engine = tiny_engine("llama", prefill_tokens=16)
    for number in (0, 1):
        engine.admit(dataclasses.replace(work(number, text="x" * 200, max_tokens=1), rank=2))
    engine.admit(work(2, text="y" * 400, max_tokens=40))
    ended: list[str] = []
    while engine.live():
        ended += [output.request_id for output in engine.step() if len(output.token_ids) and output.output_tokens == 1]
    assert ended.index("r2") < ended.index("r1")
    assert sorted(ended) == ["r0", "r1", "r2"]


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_an_answer_that_the_template_began_says_so_once_also_after_a_crash(
    tiny_engine: Callable[..., TorchEngine], tiny_tokenizer: Any, cut: int
) -> None:
    engine, reasoning = tiny_engine("llama"), copy.deepcopy(tiny_tokenizer)
    reasoning.chat_template += "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    engine._prompt = Prompt(reasoning)
    whole = finish(engine, [(0, work(0))])["r0"]
    said = [output.text for output in whole]
    assert "".join(said).startswith("<think>") and "".join(said).count("<think>") == 1
    emitted = tuple(token for output in whole[:cut] for token in output.token_ids)
    rest = finish(engine, [(0, dataclasses.replace(work(0), emitted=emitted))])["r0"]
    assert [output.text for output in rest] == said[cut:]


def test_model_info_says_what_runs(tiny_engine: Callable[..., TorchEngine]) -> None:
    info = tiny_engine("llama").model
    assert (info.device, info.dtype, info.attention, info.context_tokens) == ("cpu", "float32", "sdpa", 600)
    assert len(info.template_digest) == 64


def _raise_on(faulty: Any, engine: TorchEngine, token: int, error: Exception) -> Any:
    """From now on a forward pass whose input holds the token raises."""

    def check(segments: Sequence[Segment]) -> None:
        if any(token in segment.ids for segment in segments):
            raise error

    return faulty(engine, check)
