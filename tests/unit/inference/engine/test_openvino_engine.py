"""The openvino engine over a pipeline that makes numbers up, and holds it to what openvino-genai expects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.inference.engine.openvino_engine import OpenVinoEngine
from services.inference.engine.openvino_pipeline import ENDED, NO_MEMORY, REFUSED, RUNNING, Told
from services.inference.engine.protocol import Failure, Finish, Message, ModelInfo, Sampling, StepOutput, Work
from services.inference.engine.scheduler import Scheduler
from services.inference.models.prompt import Prompt

SLOTS, CONTEXT = 3, 200


@dataclass
class _Held:
    prompt: list[int]
    asked: dict[str, Any]
    made: list[int] = field(default_factory=list)


class Numbers:
    """Token n of an answer hangs on the prompt, what was made before, and, drawn, on the seed and how many were drawn:
    a generator that starts anew with each request, as openvino-genai's does."""

    def __init__(self) -> None:
        self.held: dict[int, _Held] = {}
        self.turns: list[tuple[int, int]] = []  # added, cancelled
        self.swerve = False  # what is drawn depends on the batch, too
        self.status: dict[int, str] = {}  # of requests that end otherwise
        self.closed = False

    def turn(self, added: Sequence[tuple[int, list[int], dict[str, Any]]], cancelled: Sequence[int]) -> list[Told]:
        self.turns.append((len(added), len(cancelled)))
        for number in cancelled:
            del self.held[number]
        for number, prompt, asked in added:
            assert number not in self.held and asked["max_new_tokens"] > 0
            self.held[number] = _Held(prompt, asked)
        assert len(self.held) <= SLOTS
        return [self._made(number, one) for number, one in list(self.held.items())]

    def _made(self, number: int, one: _Held) -> Told:
        if status := self.status.get(number):
            del self.held[number]
            return number, [], [], status
        of = f"{one.prompt + one.made}"
        if one.asked["do_sample"]:
            of += f" {one.asked['rng_seed']} {len(one.made)} {len(self.held) if self.swerve else 0}"
        token = hashlib.sha256(of.encode()).digest()[0] % 90 + 33
        one.made.append(token)
        ended = len(one.made) == one.asked["max_new_tokens"] or token in one.asked["stop_token_ids"]
        if ended:
            del self.held[number]
        return number, [token], [-0.5] if one.asked["logprobs"] else [], ENDED if ended else RUNNING

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pipeline() -> Numbers:
    return Numbers()


@pytest.fixture
def engine(pipeline: Numbers, tiny_tokenizer: Any) -> OpenVinoEngine:
    model = ModelInfo(
        name="tiny", revision="", digest="", template_digest="", dtype="", device="CPU", device_reason="",
        attention="", attention_reason="", context_tokens=CONTEXT, parameters=0, vocabulary=259,
    )  # fmt: skip
    now = iter(range(10**9, 10**15, 2 * 10**7))
    return OpenVinoEngine(
        pipeline=pipeline, prompt=Prompt(tiny_tokenizer), model=model, end_ids=frozenset({257}),
        scheduler=Scheduler(slots=SLOTS, tokens=SLOTS * CONTEXT, grain=32), clock_ns=lambda: next(now),
    )  # fmt: skip


def work(request_id: str, *, emitted: tuple[int, ...] = (), rank: int = 0, **asked: Any) -> Work:
    sampling = Sampling(**({"temperature": 0.0, "max_tokens": 20} | asked))
    message = Message(role="user", content="question")
    return Work(request_id=request_id, messages=(message,), sampling=sampling, emitted=emitted, rank=rank)


def run(engine: OpenVinoEngine) -> dict[str, list[StepOutput]]:
    told: dict[str, list[StepOutput]] = {}
    while engine.live():
        for output in engine.step():
            told.setdefault(output.request_id, []).append(output)
    return told


def tokens(told: list[StepOutput]) -> tuple[int, ...]:
    return tuple(token for output in told for token in output.token_ids)


DRAWN = {"temperature": 0.9, "seed": 5}
Admit = Callable[..., None]


@pytest.mark.parametrize("asked", [{}, DRAWN])
@pytest.mark.parametrize("cut", [1, 7, 19])
def test_a_continuation_is_what_was_left_and_tells_nothing_twice(
    engine: OpenVinoEngine, asked: dict[str, Any], cut: int
) -> None:
    engine.admit(work("whole", **asked))
    whole = tokens(run(engine)["whole"])
    engine.admit(work("rest", emitted=whole[:cut], **asked))
    rest = run(engine)["rest"]
    assert tokens(rest) == whole[cut:]
    assert rest[-1].output_tokens == 20


def test_greedy_tokens_said_before_are_read_and_drawn_ones_are_made_again(
    engine: OpenVinoEngine, pipeline: Numbers
) -> None:
    engine.admit(work("greedy"))
    said = tokens(run(engine)["greedy"])[:9]
    before = len(pipeline.turns)
    engine.admit(work("greedy again", emitted=said))
    run(engine)
    assert len(pipeline.turns) - before == 20 - 9
    engine.admit(work("drawn", **DRAWN))
    said = tokens(run(engine)["drawn"])[:9]
    before = len(pipeline.turns)
    engine.admit(work("drawn again", emitted=said, **DRAWN))
    run(engine)
    assert len(pipeline.turns) - before == 20


def test_what_is_drawn_otherwise_the_second_time_goes_on_from_what_was_told(
    engine: OpenVinoEngine, pipeline: Numbers
) -> None:
    pipeline.swerve = True
    engine.admit(work("alone", **DRAWN))
    alone = tokens(run(engine)["alone"])
    for number in range(2):
        engine.admit(work(str(number), **DRAWN))
    engine.admit(work("rest", emitted=alone[:8], **DRAWN))
    told = run(engine)
    assert len(tokens(told["rest"])) == 12
    assert told["rest"][-1].output_tokens == 20
    assert len(pipeline.held) == 0


def test_a_stop_string_takes_the_row_out_of_the_next_turn(engine: OpenVinoEngine, pipeline: Numbers) -> None:
    engine.admit(work("whole"))
    whole = "".join(output.text for output in run(engine)["whole"])
    engine.admit(work("cut", stop=(whole[4:6],)))
    told = run(engine)["cut"]
    assert told[-1].finish is Finish.STOP
    assert "".join(output.text for output in told) == whole[:4]
    assert pipeline.held
    engine.admit(work("next"))
    engine.step()
    assert len(pipeline.held) == 1


@pytest.mark.parametrize(
    ("status", "failure"),
    [(NO_MEMORY, Failure.OUT_OF_MEMORY), (REFUSED, Failure.ENGINE_ERROR), (ENDED, Failure.ENGINE_ERROR)],
)
def test_a_row_that_the_pipeline_gives_up_fails_alone(
    engine: OpenVinoEngine, pipeline: Numbers, status: str, failure: Failure
) -> None:
    before = engine.capacity()
    pipeline.status[2] = status
    for name in ("one", "two"):
        engine.admit(work(name))
    told = run(engine)
    assert (told["one"][-1].finish, told["one"][-1].failure) == (Finish.LENGTH, None)
    assert (told["two"][-1].finish, told["two"][-1].failure) == (None, failure)
    assert engine.capacity() == before


def test_those_who_give_way_go_on_where_they_were(engine: OpenVinoEngine, pipeline: Numbers) -> None:
    engine.admit(work("alone", max_tokens=100, **DRAWN))
    alone = tokens(run(engine)["alone"])
    for number in range(SLOTS):
        engine.admit(work(f"low-{number}", rank=2, max_tokens=100, **DRAWN))
    first = engine.step()
    engine.admit(work("urgent", rank=0, max_tokens=100))
    while not engine.load().preempted:  # the clock of the scheduler goes on with every step
        first += engine.step()
    told = run(engine)
    for number in range(SLOTS):
        name = f"low-{number}"
        assert tokens([one for one in first if one.request_id == name] + told[name]) == alone
    assert pipeline.held == {}


def test_logprobs_are_those_of_the_tokens_that_are_told(engine: OpenVinoEngine) -> None:
    engine.admit(work("a", logprobs=0, **DRAWN))
    whole = run(engine)["a"]
    assert [one.logprob for output in whole for one in output.logprobs] == [-0.5] * 20
    engine.admit(work("b", logprobs=0, emitted=tokens(whole)[:15], **DRAWN))
    assert sum(len(output.logprobs) for output in run(engine)["b"]) == 5


def test_closing_ends_the_pipeline(engine: OpenVinoEngine, pipeline: Numbers) -> None:
    engine.admit(work("a"))
    engine.close()
    assert pipeline.closed and not engine.live()
