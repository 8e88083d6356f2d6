"""Answers to one prompt take turns at it; nobody else does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.protocol import Sampling, Work
from services.inference.worker.prompt_turns import PromptTurns


def run(job: str) -> Any:
    return SimpleNamespace(request_id=job, cost=10)


def work(job: str, scope: str = "tenant:t", adapter: str = "") -> Work:
    return Work(request_id=job, messages=(), sampling=Sampling(temperature=0.0), scope=scope, adapter=adapter)


def test_the_first_leads_and_the_others_of_its_request_wait_for_its_first_token() -> None:
    turns, (first, second, third, other) = PromptTurns(), map(run, ("r.1", "r", "r.2", "s"))
    assert not turns.waits(first, work("r.1")) and not turns.waits(other, work("s"))
    assert turns.waits(second, work("r")) and turns.waits(third, work("r.2"))
    assert turns.waiting_cost == 20
    assert [behind for behind, _ in turns.passed(first)] == [second, third] and turns.waiting_cost == 0
    assert turns.passed(first) == [] and turns.passed(other) == []


def test_what_shares_nothing_waits_for_nobody() -> None:
    turns = PromptTurns()
    assert not any(turns.waits(run(job), work(job, scope="")) for job in ("r", "r.1"))
    assert not any(turns.waits(run(job), work(job, adapter="tone")) for job in ("s", "s.1"))


@given(st.lists(st.tuples(st.sampled_from(["r", "r.1", "r.2", "s", "s.1"]), st.booleans()), max_size=30))
def test_nobody_waits_for_one_who_has_left_and_nobody_is_let_go_twice(moves: list[tuple[str, bool]]) -> None:
    """Whoever comes and goes in whatever order: all that came leads, waits, or was let go."""
    turns, here, going = PromptTurns(), dict[str, Any](), set[str]()
    for job, comes in moves:
        if comes and job not in here:
            here[job] = run(job)
            if not turns.waits(here[job], work(job)):
                going.add(job)
        elif not comes and job in here:
            going.discard(job)
            for other, _ in turns.passed(here.pop(job)):
                assert other is here[other.request_id] and other.request_id not in going
                going.add(other.request_id)
    assert turns.waiting_cost == 10 * len(here.keys() - going)
    for request in ("r", "s"):
        of_it = {job for job in here if job.startswith(request)}
        assert not of_it or of_it & going, "all of them wait"
