"""The engine around a model that is a function of the token ids: what runs beside a request changes nothing of it."""

from __future__ import annotations

import random
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.batch import Segment
from services.inference.engine.budget import PrefillBudget
from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.protocol import (
    Failure,
    Message,
    ModelInfo,
    PromptTooLong,
    Sampling,
    StepOutput,
    Work,
)
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.torch_engine import TorchEngine

SECOND = 1_000_000_000
VOCABULARY = 32
END, POISON = 0, 31
CONTEXT, ARENA = 60, 100


class Memory:
    """Slots of token ids in place of keys and values, and the model that reads them: it sees its own slot only."""

    device = torch.device("cpu")
    mixes = True

    def __init__(self, slots: int) -> None:
        self.slots: list[list[int]] = [[-1] * CONTEXT for _ in range(slots)]
        self.passes: list[int] = []  # tokens of each that went well
        self.suffices = 1 << 30  # tokens of a pass that memory suffices for

    def run(self, segments: Rows[Segment]) -> torch.Tensor:
        rows = [segment.slot for segment in segments if segment.decodes]
        assert rows == list(range(rows[0], rows[0] + len(rows))) if rows else True, "decoding rows lie apart"
        for segment in segments:
            self.slots[segment.slot][segment.start : segment.end] = segment.ids
        if any(POISON in segment.ids for segment in segments):
            raise RuntimeError("poison")
        if sum(len(segment.ids) for segment in segments) > self.suffices:
            raise torch.OutOfMemoryError
        self.passes.append(sum(len(segment.ids) for segment in segments))
        wanted = [
            self._next(self.slots[one.slot][:end])
            for one in segments
            for end in range(one.end - one.logits + 1, one.end + 1)
        ]
        return torch.nn.functional.one_hot(torch.tensor(wanted, dtype=torch.long), VOCABULARY).float()

    @staticmethod
    def _next(ids: list[int]) -> int:
        """Mostly round and round, so that it can be guessed; whether, and what else, all of the ids decide."""
        assert -1 not in ids, "a position was read that nobody wrote"
        chance = random.Random(repr(ids))
        return ids[-1] % 3 + 1 if chance.random() < 0.8 else chance.choice([END, *range(1, 31)])

    def move(self, source: int, target: int, tokens: int) -> None:
        self.slots[target] = self.slots[source][:tokens] + [-1] * (CONTEXT - tokens)

    def swap(self, one: int, other: int, tokens: int) -> None:
        for n in range(tokens):
            self.slots[one][n], self.slots[other][n] = self.slots[other][n], self.slots[one][n]

    def clear(self, slot: int) -> None:
        self.give_back(slot, 0)

    def give_back(self, slot: int, tokens: int) -> None:
        self.slots[slot][tokens:] = [-1] * (CONTEXT - tokens)

    @property
    def held(self) -> int:
        return sum(token != -1 for slot in self.slots for token in slot)


class Letters:
    """A prompt's token ids are its characters'."""

    def ids(self, messages: Rows[Message]) -> list[int]:
        return [ord(letter) % VOCABULARY for message in messages for letter in message.content]

    def opening(self, ids: Rows[int]) -> str:
        return ""

    def detokenizer(self) -> Detokenizer:
        return Detokenizer(lambda token: bytes([64 + token]))


@dataclass
class Clock:
    now_ns: int = 1

    def __call__(self) -> int:
        return self.now_ns


def engine(clock: Clock, *, slots: int = 4, chunk: int = 7, guess_rows: int = 4) -> TorchEngine:
    memory = Memory(slots)
    unknown = dict.fromkeys(
        ("name", "revision", "digest", "template_digest", "dtype", "device", "device_reason", "attention"), ""
    )
    return TorchEngine(
        runner=cast(Any, memory),
        cache=cast(Any, memory),
        prompt=cast(Any, Letters()),
        model=ModelInfo(**unknown, attention_reason="", context_tokens=CONTEXT, parameters=0, vocabulary=VOCABULARY),
        end_ids=frozenset({END}),
        scheduler=Scheduler(slots=slots, tokens=ARENA),
        adapters=cast(Any, frozenset()),
        budget=PrefillBudget(200_000_000, fixed=chunk),
        guess_rows=guess_rows,
        clock_ns=clock,
    )


def work(number: int, length: int, most: int, rank: int = 1, *, poisoned: bool = False) -> Work:
    text = "".join(chr(96 + random.Random(number * 1000 + n).randint(1, 30)) for n in range(length))
    text = text[:-1] + chr(96 + POISON) if poisoned else text
    message = Message(role="user", content=text)
    sampling = Sampling(temperature=0.0, max_tokens=most)
    return Work(request_id=f"r{number}", messages=(message,), sampling=sampling, rank=rank)


def alone(one: Work) -> tuple[int, ...]:
    made = engine(Clock(), slots=1, chunk=1000, guess_rows=0)
    made.admit(replace(one, deadline_ns=0))
    outputs: list[StepOutput] = []
    while made.live():
        outputs += made.step()
    return tuple(token for output in outputs for token in output.token_ids)


requests = st.tuples(
    st.integers(0, 40),  # step of its arrival
    st.integers(1, 40),  # prompt
    st.integers(1, 20),  # longest answer
    st.integers(0, 2),  # rank
    st.none() | st.integers(0, 30),  # steps until it is cancelled
    st.none() | st.integers(0, 30),  # steps until its deadline
    st.booleans() | st.just(False),  # its prompt breaks the pass that carries its end
)


@settings(max_examples=60, deadline=None)
@given(plan=st.lists(requests, max_size=14), slots=st.integers(1, 4), chunk=st.sampled_from([1, 5, 16, 200]))
def test_invariant_11_every_request_ends_and_its_answer_is_the_one_it_gets_alone(
    plan: list[tuple[int, int, int, int, int | None, int | None, bool]], slots: int, chunk: int
) -> None:
    """Fails if `_leave_slot` keeps `cached`: a request that gave way then reads what others wrote into its new slot."""
    clock = Clock()
    made = engine(clock, slots=slots, chunk=chunk)
    arrivals = sorted(enumerate(plan), key=lambda one: one[1][0])
    got: dict[str, list[StepOutput]] = {}
    works: dict[str, Work] = {}
    cancels: dict[int, list[str]] = {}
    cut: set[str] = set()
    step = 0
    while arrivals or made.live():
        while arrivals and arrivals[0][1][0] <= step and made.capacity().free_slots:
            number, (_, length, most, rank, cancel, deadline, poisoned) = arrivals.pop(0)
            one = work(number, length, most, rank, poisoned=poisoned)
            until = 0 if deadline is None else clock.now_ns + deadline * SECOND + 1
            works[one.request_id] = one
            made.admit(replace(one, deadline_ns=until))
            if cancel is not None:
                cancels.setdefault(step + cancel, []).append(one.request_id)
        cut |= {name for name in cancels.get(step, []) if made.cancel(name)}
        before = made.live()
        outputs = made.step()
        assert made._residency.held <= ARENA + CONTEXT  # two rows that changed places may for a step hold one too many
        for output in outputs:
            got.setdefault(output.request_id, []).append(output)
        ended = {output.request_id for output in outputs if output.last}
        cut |= before - made.live() - ended  # its deadline was over
        clock.now_ns += SECOND
        step += 1
        assert step < 5000
    for name, one in works.items():
        tokens = tuple(token for output in got.get(name, []) for token in output.token_ids)
        poisoned = POISON in Letters().ids(one.messages)
        assert tokens == (() if poisoned else alone(one)[: len(tokens)])
        if name not in cut:
            (last,) = [output for output in got[name] if output.last]
            assert last.failure is (Failure.ENGINE_ERROR if poisoned else None)
            assert poisoned or tokens == alone(one)
    assert made.capacity().free_tokens == ARENA and made.capacity().free_slots == slots


def test_a_request_that_gave_way_answers_as_if_it_had_not() -> None:
    clock = Clock()
    made = engine(clock, slots=1, guess_rows=0)
    long = next(one for n in range(100) if len(alone(one := work(n, 20, 20, rank=2))) == 20)
    made.admit(long)
    outputs: list[StepOutput] = []
    while len(outputs) < 8:
        outputs += made.step()
    assert made.capacity().yields_to == 2 and not made.capacity().free_slots
    made.admit(work(500, 5, 3, rank=0))
    for _ in range(3):
        clock.now_ns += SECOND
        outputs += made.step()
    assert made.load().preempted == 1 and made.load().waiting == 1
    while made.live():
        outputs += made.step()
    mine = [output for output in outputs if output.request_id == long.request_id]
    assert tuple(token for output in mine for token in output.token_ids) == alone(long)
    assert [output.output_tokens for output in mine] == list(range(1, 21))


def test_prompts_that_each_need_the_whole_arena_are_answered_one_after_the_other() -> None:
    clock = Clock()
    made = engine(clock, slots=4, chunk=200)
    made._scheduler.tokens = CONTEXT
    heavy = [work(number, 50, 10) for number in range(3)]
    for one in heavy:
        made.admit(one)
    made.step()
    assert made.load().waiting == 2 and made.capacity().free_tokens == 0
    ended: list[str] = []
    while made.live():
        clock.now_ns += SECOND
        ended += [output.request_id for output in made.step() if output.last]
    assert ended == [one.request_id for one in heavy]


def test_a_prompt_longer_than_the_arena_is_refused_with_the_bound() -> None:
    made = engine(Clock())
    made._scheduler.tokens = 40
    with pytest.raises(PromptTooLong, match="at most 30 fit beside max_tokens: shorten") as refused:
        made.admit(work(1, 35, 10))
    assert refused.value.bound == "30"
    assert not made.live() and made.capacity().max_tokens == 40


@pytest.mark.parametrize("suffices", [1, 3, 20])
def test_where_memory_is_short_passes_carry_less_no_answer_changes_and_it_recovers(suffices: int) -> None:
    """Fails if `_pass` forgets what memory sufficed for: every step then fails first and is halved again."""
    made = engine(Clock(), slots=4, chunk=200)
    memory = cast(Memory, made._runner)
    works = [work(number, 15, 10) for number in range(4)]
    for one in works:
        made.admit(one)
    memory.suffices = suffices
    outputs: list[StepOutput] = []
    while len(outputs) < 12:
        outputs += made.step()
    short = made.load().memory_short
    assert 1 <= short <= 12 and max(memory.passes) <= suffices
    memory.suffices = 1 << 30
    while not made.capacity().free_slots:
        outputs += made.step()
    made.admit(later := work(9, 40, 20))
    while made.live():
        outputs += made.step()
    assert made.load().memory_short == short
    for one in [*works, later]:
        mine = [output for output in outputs if output.request_id == one.request_id]
        assert tuple(token for output in mine for token in output.token_ids) == alone(one)
        assert mine[-1].failure is None


@pytest.mark.parametrize("fits_alone", [True, False])
def test_a_request_that_memory_does_not_suffice_for_waits_for_the_others_and_fails_only_alone(fits_alone: bool) -> None:
    """Fails if `_short_alone` fails it at once."""
    made = engine(Clock(), slots=3, chunk=200)
    memory = cast(Memory, made._runner)
    works = [work(number, 10, 12) for number in range(3)]
    hungry = Letters().ids(works[0].messages)
    run = memory.run

    def short(segments: Rows[Segment]) -> torch.Tensor:
        suffices = len(made._scheduler.running) == 1 and fits_alone
        if not suffices and any(memory.slots[one.slot][:10] == hungry and one.start for one in segments):
            raise torch.OutOfMemoryError
        return run(segments)

    memory.run = short  # type: ignore[method-assign]
    for one in works:
        made.admit(one)
    outputs: list[StepOutput] = []
    while made.live():
        outputs += made.step()
    failures = {output.request_id: output.failure for output in outputs if output.last}
    assert failures == {"r0": None if fits_alone else Failure.OUT_OF_MEMORY, "r1": None, "r2": None}
    assert 1 <= made.load().requeued <= 2
    for one in works[0 if fits_alone else 1 :]:
        mine = [output for output in outputs if output.request_id == one.request_id]
        assert tuple(token for output in mine for token in output.token_ids) == alone(one)
