"""Slots stay where the decode batch needs them, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.answer import Answer
from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.protocol import Message, Sampling, Timing, Work
from services.inference.engine.sequence import Sequence, SlotOrder


class Cache:
    """Remembers whose data lies in each slot."""

    def __init__(self, slots: int) -> None:
        self.owner: list[str | None] = [None] * slots

    def move(self, source: int, target: int, tokens: int) -> None:
        self.owner[target] = self.owner[source]

    def swap(self, one: int, other: int, tokens: int) -> None:
        self.owner[one], self.owner[other] = self.owner[other], self.owner[one]


def sequence(name: str, prompt: int = 1, answer: int = 0) -> Sequence:
    sampling = Sampling(temperature=0)
    made = Answer(Detokenizer(lambda token: b"x"), sampling, frozenset())
    made.replay(range(100, 100 + answer))
    work = Work(request_id=name, messages=(Message(role="user", content="x"),), sampling=sampling)
    return Sequence(work=work, prompt=list(range(prompt)), answer=made, timing=Timing(admitted_ns=0), arrival=0)


@given(st.lists(st.tuples(st.sampled_from(["add", "promote", "remove"]), st.integers(0, 7)), max_size=40))
def test_rows_keep_their_data_and_decoding_ones_come_first(actions: list[tuple[str, int]]) -> None:
    cache = Cache(8)
    order = SlotOrder(cache)
    for number, (action, which) in enumerate(actions):
        if action == "add" and len(order) < 8:
            added = sequence(str(number))
            order.add(added)
            cache.owner[added.slot] = added.work.request_id
        elif action == "promote" and order.prefilling:
            order.promote(order.prefilling[which % len(order.prefilling)])
        elif action == "remove" and len(order):
            order.remove(list(order)[which % len(order)])
        order.check()
        assert [cache.owner[row.slot] for row in order] == [row.work.request_id for row in order]


@given(prompt=st.integers(1, 9), answer=st.integers(0, 9), start=st.integers(0, 17), length=st.integers(0, 18))
def test_ids_of_a_span_are_those_of_prompt_and_answer_joined(prompt: int, answer: int, start: int, length: int) -> None:
    one = sequence("one", prompt, answer)
    joined = one.prompt + one.answer.tokens
    start = min(start, len(joined))
    end = min(start + length, len(joined))
    assert one.ids(start, end) == joined[start:end]
