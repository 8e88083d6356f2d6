"""Who runs: a clock that the test moves, requests that are nothing but numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.scheduler import MOST_PASSED_BY, PATIENCE_NS, Plan, Scheduler

SECOND = 1_000_000_000
INTERACTIVE, STANDARD, BATCH = 0, 1, 2


@dataclass(eq=False)
class Asked:
    arrival: int
    need: int
    rank: int = STANDARD
    arrived_ns: int = 0
    deadline_ns: int = 0
    pending: int = 1
    steps: int = 0  # of decode that it has had


@dataclass
class Engine:
    """Carries plans out: a prompt takes its tokens, an answer `lasts` steps."""

    slots: int = 4
    tokens: int = 1000
    lasts: int = 3
    step_ns: int = SECOND // 10
    now_ns: int = 0
    began: list[Asked] = field(default_factory=list)
    ended: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler: Scheduler[Asked] = Scheduler(slots=self.slots, tokens=self.tokens)
        self.arrivals = 0

    def ask(self, need: int, rank: int = STANDARD, *, prompt: int = 1, deadline_ns: int = 0) -> Asked:
        self.arrivals += 1
        asked = Asked(self.arrivals, need, rank, self.now_ns, deadline_ns, prompt)
        self.scheduler.add(asked)
        return asked

    def step(self, budget: int = 64) -> Plan[Asked]:
        plan = self.scheduler.plan(self.now_ns, lambda decoding: budget)
        for lost in plan.preempted:
            lost.pending, lost.steps = lost.pending + lost.steps + 1, 0
        self.began += plan.admitted
        for asked, count in plan.parts:
            if count < asked.pending:
                asked.pending -= count
                continue
            asked.pending, asked.steps = 1, asked.steps + 1
            if asked.steps == self.lasts:
                self.ended.append(asked)
                self.scheduler.remove(asked, self.now_ns)
        self.now_ns += self.step_ns
        self.scheduler.check()
        return plan


def test_a_request_that_does_not_fit_stops_no_lighter_one() -> None:
    """Fails if `_admit` breaks at the first that does not fit."""
    engine = Engine()
    for need in (600, 600, 300):
        engine.ask(need)
    engine.step()
    assert [asked.need for asked in engine.began] == [300, 600]


def test_what_gets_free_is_kept_for_one_who_has_waited_long() -> None:
    """Fails if `_keeping` is never set: light requests that keep coming then fill every gap."""
    engine = Engine(lasts=8)
    waits = [engine.ask(300), engine.ask(300), engine.ask(300)]
    engine.step()
    passed_by = engine.ask(450)
    while passed_by not in engine.began:
        if engine.scheduler.free_slots and engine.scheduler.free_tokens >= 100:
            engine.ask(100)
        engine.step()
    assert engine.now_ns <= PATIENCE_NS[STANDARD] + 2 * 8 * engine.step_ns
    assert all(one in engine.ended for one in waits)


def test_many_that_need_it_all_run_one_after_the_other_and_light_ones_get_their_turns() -> None:
    """Fails if a heavy request goes by its age alone: the light one that came last then waits for all of them."""
    engine = Engine(slots=8)
    heavy = [engine.ask(1000, INTERACTIVE) for _ in range(MOST_PASSED_BY + 1)]
    engine.step()
    light = engine.ask(10, INTERACTIVE)
    engine.step()
    while engine.scheduler.waiting or engine.scheduler.running:
        engine.step()
    assert engine.ended.index(light) == 1
    assert [one for one in engine.ended if one is not light] == heavy


def test_urgent_ones_go_first_and_patience_makes_every_class_urgent() -> None:
    engine = Engine(slots=1, lasts=10)
    engine.ask(10, INTERACTIVE)
    engine.step()
    batch = engine.ask(10, BATCH)
    while batch not in engine.began:
        if not any(one.rank == INTERACTIVE for one in engine.scheduler.waiting):
            engine.ask(10, INTERACTIVE)
        engine.step()
    assert engine.now_ns >= PATIENCE_NS[BATCH]
    assert engine.now_ns <= 2 * PATIENCE_NS[BATCH] + 2 * 10 * engine.step_ns


def test_the_youngest_of_the_lowest_class_gives_way_once_and_only_to_a_more_urgent_class() -> None:
    """Fails if `_make_room` leaves `_gave_way` alone: the same request then gives way for ever."""
    engine = Engine(slots=2, lasts=100)
    older, younger = engine.ask(10, BATCH), engine.ask(10, BATCH)
    engine.step()
    urgent = [engine.ask(10, INTERACTIVE) for _ in range(3)]
    gave_way: list[Asked] = []
    while len(engine.ended) < 5:
        plan = engine.step()
        assert engine.now_ns > PATIENCE_NS[INTERACTIVE] or not plan.preempted
        gave_way += plan.preempted
    assert gave_way == [younger, older]
    assert engine.scheduler.preemptions == 2
    assert {one.arrival for one in engine.ended} == {one.arrival for one in (older, younger, *urgent)}


def test_nobody_gives_way_where_it_would_not_help() -> None:
    engine = Engine(slots=4, lasts=50)
    engine.ask(700, INTERACTIVE)
    engine.ask(200, BATCH)
    engine.step()
    engine.ask(400, INTERACTIVE)
    assert not any(engine.step().preempted for _ in range(30))


@pytest.mark.parametrize("running", [True, False])
def test_a_deadline_ends_it_at_the_next_step_whether_it_runs_or_waits(running: bool) -> None:
    engine = Engine(slots=1, lasts=100)
    late = engine.ask(10, deadline_ns=SECOND)
    if not running:
        engine.ask(10, INTERACTIVE)
    while not (plan := engine.step()).expired:
        assert engine.now_ns <= SECOND
    assert plan.expired == [late]
    assert late not in engine.scheduler.running + engine.scheduler.waiting


def test_prompts_share_the_budget_and_every_decoding_row_runs() -> None:
    engine = Engine(lasts=100)
    engine.ask(10)
    engine.step()
    first, second = engine.ask(300, prompt=50), engine.ask(300, prompt=50)
    parts = {asked.arrival: count for asked, count in engine.step(budget=64).parts}
    assert parts == {1: 1, first.arrival: 50, second.arrival: 14}


def test_with_too_many_passed_by_no_others_are_taken_on() -> None:
    engine = Engine(slots=16, lasts=100)
    engine.ask(900)
    engine.step()
    for _ in range(MOST_PASSED_BY):
        assert engine.scheduler.free_slots
        engine.ask(500)
        engine.step()
    assert not engine.scheduler.free_slots


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.integers(0, 60),  # step of its arrival
            st.integers(1, 100),  # need
            st.integers(0, 2),  # rank
            st.integers(1, 30),  # prompt
            st.none() | st.integers(0, 80),  # steps until it is cancelled
            st.none() | st.integers(0, 80),  # steps until its deadline
        ),
        max_size=25,
    ),
    slots=st.integers(1, 4),
)
def test_whatever_comes_and_goes_all_end_nothing_leaks_and_no_wait_is_without_bound(
    plan: list[tuple[int, int, int, int, int | None, int | None]], slots: int
) -> None:
    """Fails if `remove` forgets to give the reserved tokens back. `plan` checks the invariants at each step."""
    engine = Engine(slots=slots, tokens=100, lasts=4, step_ns=SECOND)
    arrivals, cancels = sorted(plan, key=lambda one: one[0]), dict[int, list[Asked]]()
    gone: set[int] = set()
    step = 0
    while arrivals or len(engine.scheduler):
        while arrivals and arrivals[0][0] <= step:
            _, need, rank, prompt, cancel, deadline = arrivals.pop(0)
            asked = engine.ask(
                need, rank, prompt=prompt, deadline_ns=0 if deadline is None else engine.now_ns + deadline * SECOND + 1
            )
            if cancel is not None:
                cancels.setdefault(step + cancel, []).append(asked)
        for asked in cancels.get(step, []):
            if asked in engine.scheduler.running + engine.scheduler.waiting:
                engine.scheduler.remove(asked, engine.now_ns)
                gone.add(asked.arrival)
        gone |= {one.arrival for one in engine.step(budget=8).expired}
        step += 1
        # All prompts again after giving way, all answers, and the patience of the lowest class twice over.
        assert step < 62 + 2 * (30 * 25 // 8 + 4 * 25 * 2) + 2 * 30 + 2 * 30 * 25
    assert engine.scheduler.free_tokens == 100 and engine.scheduler.free_slots == slots
    assert sorted(gone | {one.arrival for one in engine.ended}) == list(range(1, engine.arrivals + 1))
