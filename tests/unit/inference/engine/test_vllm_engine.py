"""The vllm engine's own part, on an AsyncLLM that spells out a given text: its stream, its aborts, its death.

The real one runs under its own Python: `make test-vllm`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from services.inference.engine.loop import EngineLoop
from services.inference.engine.protocol import (
    EngineDied,
    EngineFull,
    EngineRefusal,
    Failure,
    Finish,
    Message,
    ModelInfo,
    StepOutput,
    Work,
)
from services.inference.engine.sampling import Grammar, GrammarKind, Sampling
from services.inference.engine.vllm_engine import URGENT_SEATS, Counters, VllmEngine
from services.inference.engine.vllm_thread import LlmThread
from services.inference.models.prompt import Prompt
from tests.unit.inference.engine.stepping import PATIENCE_SECONDS, finish, text, tokens

END = 257


class SpellingLlm:
    """Answers with the bytes of a text, a token each, then the end; as AsyncLLM does, to whoever iterates.

    Holds to AsyncLLM's contract: an id runs once, nothing comes after the end, a cancelled caller is an abort.
    """

    def __init__(self, text: str = "one two three") -> None:
        self.ids = [*text.encode(), END]
        self.errored = False
        self.asked: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.running: set[str] = set()
        self.goes_on = True  # plain, for two threads look at it
        self.closed = threading.Event()
        self.refuses = False

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, *, trace_headers: Any, priority: int
    ) -> AsyncIterator[Any]:
        assert request_id not in self.running
        if self.refuses:
            raise ValueError("a prompt may stand here")
        self.running.add(request_id)
        self.asked.append({"prompt": prompt, "params": sampling_params, "headers": trace_headers, "priority": priority})
        begun = prompt["begun"]
        try:
            for place in range(begun, min(len(self.ids), begun + sampling_params["max_tokens"])):
                await asyncio.sleep(0)
                while not self.goes_on:
                    await asyncio.sleep(0.005)
                if self.errored:
                    raise RuntimeError("the engine's process is gone")
                yield self._output(self.ids[place], place - begun + 1, sampling_params)
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted.append(request_id)
            raise
        finally:
            self.running.discard(request_id)

    def _output(self, token: int, made: int, params: Any) -> Any:
        reason = "stop" if token in params["stop_token_ids"] else None
        reason = reason or ("length" if made >= params["max_tokens"] else None)
        logprobs = [{token: SimpleNamespace(logprob=-0.5), 65: SimpleNamespace(logprob=-1.0)}]
        one = SimpleNamespace(
            token_ids=[token], finish_reason=reason, logprobs=logprobs if params["logprobs"] is not None else None
        )
        return SimpleNamespace(outputs=[one], metrics=SimpleNamespace(scheduled_ts=time.monotonic()))

    def shutdown(self) -> None:
        self.closed.set()


class Outlet:
    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()

    def outputs(self, outputs: Sequence[StepOutput]) -> None:
        for output in outputs:
            self.told.put(output)

    def refused(self, request_id: str, refusal: EngineRefusal) -> None:
        self.told.put(refusal)

    def room_changed(self) -> None:
        pass

    def died(self) -> None:
        self.told.put("died")


@pytest.fixture
def llm() -> SpellingLlm:
    return SpellingLlm()


@pytest.fixture
def engine(llm: SpellingLlm, tiny_tokenizer: Any) -> Iterator[VllmEngine]:
    prompt = Prompt(tiny_tokenizer)

    async def opened() -> SpellingLlm:
        return llm

    made = VllmEngine(
        thread=LlmThread(opened),
        counters=Counters(),
        as_vllm=lambda ids, salt, sampling: (
            # Behind the assistant's mark and its line break stands what was emitted.
            {"ids": ids, "salt": salt, "begun": ids[::-1].index(10)},
            dict(sampling),
        ),
        prompt=prompt,
        model=ModelInfo(
            name="spelling", revision="", digest="", template_digest="", dtype="float32", device="cpu",
            device_reason="", attention="", attention_reason="", context_tokens=600, parameters=0, vocabulary=259,
        ),
        end_ids=frozenset({END}),
        slots=4,
        tokens=2400,
        block_tokens=16,
    )  # fmt: skip
    yield made
    made.close()
    assert made.live() == frozenset() and llm.closed.wait(PATIENCE_SECONDS)


def work(request_id: str, *, scope: str = "", rank: int = 0, traceparent: str = "", **more: Any) -> Work:
    emitted, deadline = more.pop("emitted", ()), more.pop("deadline_ns", 0)
    return Work(
        request_id=request_id,
        messages=(Message(role="user", content="spell"),),
        sampling=Sampling(**({"temperature": 0.0, "max_tokens": 40} | more)),
        emitted=emitted, rank=rank, scope=scope, deadline_ns=deadline, traceparent=traceparent,
    )  # fmt: skip


def until(true: Any) -> None:
    over = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < over, "it never came to be"
        time.sleep(0.01)


def test_an_answer_ends_once_with_its_usage_and_times(engine: VllmEngine, llm: SpellingLlm) -> None:
    engine.admit(work("a"))
    outputs = finish(engine)["a"]
    assert text(outputs) == "one two three" and tokens(outputs) == llm.ids
    assert [output.last for output in outputs] == [False] * (len(outputs) - 1) + [True]
    last = outputs[-1]
    assert (last.finish, last.output_tokens) == (Finish.STOP, len(llm.ids))
    assert last.input_tokens == engine.prompt_tokens(work("a"))
    timing = last.timing
    assert 0 < timing.admitted_ns <= timing.prefill_started_ns <= timing.prefill_finished_ns <= timing.first_token_ns


def test_a_limit_of_tokens_ends_it_as_that(engine: VllmEngine) -> None:
    engine.admit(work("a", max_tokens=3))
    outputs = finish(engine)["a"]
    assert (text(outputs), outputs[-1].finish) == ("one", Finish.LENGTH)


def test_a_stop_string_is_ours_to_see_and_vllm_is_told_to_abort(engine: VllmEngine, llm: SpellingLlm) -> None:
    engine.admit(work("a", stop=("two",)))
    outputs = finish(engine)["a"]
    assert (text(outputs), outputs[-1].finish) == ("one ", Finish.STOP)
    assert outputs[-1].output_tokens == len("one two"), "what vLLM made behind the stop string is not counted"
    until(lambda: not llm.running)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_continuation_is_what_was_left(engine: VllmEngine, llm: SpellingLlm, drawn: bool) -> None:
    """Behind what was said, or made once more: what is told is the rest. Fails if a token is told twice."""
    how = {"temperature": 0.9, "seed": 5} if drawn else {}
    for cut in (1, 4, len(llm.ids) - 1):
        engine.admit(work(f"cut-{cut}", emitted=tuple(llm.ids[:cut]), **how))
        outputs = finish(engine)[f"cut-{cut}"]
        assert tokens(outputs) == llm.ids[cut:] and text(outputs) == "one two three"[cut:]
        assert outputs[-1].output_tokens == len(llm.ids)
        assert llm.asked[-1]["prompt"]["begun"] == (0 if drawn else cut)
    engine.admit(work("whole", emitted=tuple(llm.ids), **how))
    (only,) = finish(engine)["whole"]
    assert (only.finish, only.token_ids, only.text) == (Finish.STOP, (), "")


def test_one_that_goes_another_way_goes_on_behind_what_was_told(engine: VllmEngine, llm: SpellingLlm) -> None:
    told = (*b"one tx",)
    engine.admit(work("a", emitted=told, temperature=0.9, seed=5))
    outputs = finish(engine)["a"]
    assert tokens(outputs) == llm.ids[len(told) :] and text(outputs) == "o three"
    assert [asked["prompt"]["begun"] for asked in llm.asked] == [0, len(told)]
    until(lambda: not llm.running)


def test_with_a_grammar_it_fails_instead(engine: VllmEngine) -> None:
    grammar = Grammar(kind=GrammarKind.REGEX, text="[a-z ]+")
    engine.admit(work("a", emitted=(*b"one tx",), grammar=grammar))
    (only,) = finish(engine)["a"]
    assert only.failure is Failure.ENGINE_ERROR and only.output_tokens == 6


def test_a_cancelled_request_is_aborted_and_heard_of_no_more(engine: VllmEngine, llm: SpellingLlm) -> None:
    """Fails if `cancel` forgets the request and lets vLLM go on with it."""
    before = engine.capacity()
    llm.goes_on = False
    engine.admit(work("gone"))
    until(lambda: llm.running == {"gone"})
    assert engine.cancel("gone") and not engine.cancel("gone")
    assert engine.capacity() == before and engine.live() == frozenset()
    until(lambda: llm.aborted == ["gone"])
    llm.goes_on = True
    engine.admit(work("gone"))  # its id may come again, and is then another request
    assert text(finish(engine)["gone"]) == "one two three"


def test_at_its_deadline_it_is_aborted_without_a_word(engine: VllmEngine, llm: SpellingLlm) -> None:
    llm.goes_on = False
    engine.admit(work("late", deadline_ns=time.monotonic_ns() + 50_000_000))
    assert finish(engine) == {}
    until(lambda: llm.aborted == ["late"] or not llm.running)


def test_class_scope_and_trace_go_with_a_request(engine: VllmEngine, llm: SpellingLlm) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    for name, scope in (("a", "tenant:x"), ("b", "tenant:x"), ("c", "tenant:y"), ("d", ""), ("e", "")):
        engine.admit(work(name, scope=scope, rank=2, traceparent=traceparent if name == "a" else ""))
        finish(engine)
    salts = [asked["prompt"]["salt"] for asked in llm.asked]
    assert salts[0] == salts[1] and len({salts[0], *salts[2:]}) == 4
    assert "tenant" not in salts[0] and len(salts[0]) == 64
    assert [asked["headers"] for asked in llm.asked] == [{"traceparent": traceparent}, *[None] * 4]
    assert {asked["priority"] for asked in llm.asked} == {2}


def test_logprobs_are_of_our_tokens_bytes(engine: VllmEngine) -> None:
    engine.admit(work("a", logprobs=1, max_tokens=2))
    told = [one for output in finish(engine)["a"] for one in output.logprobs]
    assert [(one.token, one.logprob, one.top, one.end) for one in told] == [
        (b"o", -0.5, ((b"o", -0.5),), 1),
        (b"n", -0.5, ((b"n", -0.5),), 2),
    ]


def test_what_vllm_gives_up_fails_alone(engine: VllmEngine, llm: SpellingLlm) -> None:
    llm.refuses = True
    engine.admit(work("refused"))
    assert finish(engine)["refused"][-1].failure is Failure.ENGINE_ERROR
    llm.refuses = False
    engine.admit(work("after"))
    assert finish(engine)["after"][-1].finish is Finish.STOP


def test_a_full_engine_refuses(engine: VllmEngine, llm: SpellingLlm) -> None:
    llm.goes_on = False
    for number in range(4):
        engine.admit(work(str(number)))
    with pytest.raises(EngineFull):
        engine.admit(work("fifth"))
    assert engine.capacity().free_tokens == 2400 - 4 * 64  # prompt and answer, rounded up to blocks of 16
    llm.goes_on = True
    assert len(finish(engine)) == 4


def test_a_full_engine_takes_a_few_that_are_more_urgent_than_somebody_who_runs(
    engine: VllmEngine, llm: SpellingLlm
) -> None:
    llm.goes_on = False
    for number in range(4):
        engine.admit(work(str(number), rank=1))
    assert (engine.capacity().free_slots, engine.capacity().yields_to) == (0, 1)
    for number in range(URGENT_SEATS):
        engine.admit(work(f"urgent-{number}"))
    assert engine.capacity().yields_to == 0
    with pytest.raises(EngineFull):
        engine.admit(work("one too many"))
    llm.goes_on = True
    assert len(finish(engine)) == 4 + URGENT_SEATS


def test_what_the_kv_cache_has_no_room_for_waits_by_our_count(engine: VllmEngine, llm: SpellingLlm) -> None:
    llm.goes_on = False
    for number in range(4):
        engine.admit(work(str(number), max_tokens=570))
    room = engine.capacity()
    assert (room.free_slots, engine.load().waiting) == (0, 1)  # four of 608 tokens, of which 2400 hold three
    assert room.free_tokens == 0
    for number in range(4):
        engine.cancel(str(number))
    assert engine.load().waiting == 0


def test_a_dead_engine_says_so_from_all_that_a_loop_asks(engine: VllmEngine, llm: SpellingLlm) -> None:
    llm.goes_on = False
    engine.admit(work("a"))
    llm.errored = True
    llm.goes_on = True
    with pytest.raises(EngineDied):
        while True:
            engine.step()
    with pytest.raises(EngineDied):
        engine.capacity()
    with pytest.raises(EngineDied):
        engine.admit(work("b"))


@pytest.mark.parametrize("busy", [False, True])
def test_the_loop_of_a_dead_engine_ends_and_ends_no_request(engine: VllmEngine, llm: SpellingLlm, busy: bool) -> None:
    """Fails if `EngineLoop._step` treats EngineDied as any other exception: what was held would end as failed, and not
    go on elsewhere."""
    outlet = Outlet()
    loop = EngineLoop(engine, outlet)
    loop.start()
    if busy:
        llm.goes_on = False
        loop.admit(work("a"))
        until(lambda: llm.running)
    llm.errored = True
    llm.goes_on = True
    until(lambda: not loop.heartbeat().alive)
    assert outlet.told.get(timeout=PATIENCE_SECONDS) == "died" and outlet.told.empty()
    loop.stop()


def test_a_loop_is_alive_by_vllms_steps_and_not_by_its_own(engine: VllmEngine, llm: SpellingLlm) -> None:
    """Fails if the heartbeat moves with every round of the thread: an engine that hangs would pass for a busy one."""
    outlet = Outlet()
    loop = EngineLoop(engine, outlet)
    loop.start()
    llm.goes_on = False
    loop.admit(work("a"))
    until(lambda: llm.running)
    beat = loop.heartbeat()
    for _ in range(5):
        loop.call(lambda: None).result(PATIENCE_SECONDS)  # a round of the thread each, and more in between
    assert loop.heartbeat().last_ns == beat.last_ns and loop.heartbeat().busy
    llm.goes_on = True
    until(lambda: loop.heartbeat().last_ns > beat.last_ns)
    loop.stop()
