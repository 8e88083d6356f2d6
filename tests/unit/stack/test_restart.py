"""Replacing processes one by one, with a real supervisor and real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stack import runfiles
from stack.options import Stack, stack_options
from stack.process import Plan
from stack.restart import restart
from stack.restarts import Backoff
from stack.supervisor import Supervisor

STAYS = "ready.touch(); import time; time.sleep(60)"
# Ends only when it is told that what it holds is finished.
HOLDS = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: ready.with_suffix('.asked').touch())
ready.touch()
while not ready.with_suffix('.finished').exists(): time.sleep(0.01)
"""
ONCE = """
import signal, time
gone = ready.with_suffix('.gone')
if gone.exists():
    raise SystemExit(78)

def leave(*_):
    ready.unlink()
    gone.touch()
    raise SystemExit(0)

signal.signal(signal.SIGTERM, leave)
ready.touch()
time.sleep(60)
"""


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return stack_options({"home": tmp_path})


@asynccontextmanager
async def running(stack: Stack, plans: list[Plan]) -> AsyncIterator[dict[str, int]]:
    """The names that run, and their pids."""
    with runfiles.holding(stack.run_folder):
        supervisor = Supervisor(stack.run_folder, lambda line: None, Backoff(first=0.01, longest=0.05, settled=60))
        async with supervisor.running():
            await supervisor.bring_up(plans, 30)
            yield pids(stack)


def pids(stack: Stack) -> dict[str, int]:
    return {run.name: run.pid for run in runfiles.read_all(stack.run_folder)}


async def restarted(stack: Stack, *names: str, patience: float = 30) -> tuple[int, list[str]]:
    said: list[str] = []
    return await asyncio.to_thread(restart, stack, names, patience, said.append), said


async def test_all_are_replaced_one_after_the_other_and_callers_last(
    stack: Stack, plan_for: Callable[..., Plan]
) -> None:
    names = ["gateway", "redis", "inference-1", "audit", "inference", "guard", "monitor"]
    async with running(stack, [plan_for(name, STAYS) for name in names]) as before:
        code, said = await restarted(stack)
        after = pids(stack)
    assert code == 0
    assert [line.split()[1] for line in said] == ["monitor", "guard", "inference", "inference-1", "audit", "gateway"]
    assert {name for name in names if before[name] == after[name]} == {"redis"}


async def test_a_service_stands_for_its_workers_and_a_worker_for_itself(
    stack: Stack, plan_for: Callable[..., Plan]
) -> None:
    async with running(stack, [plan_for(name, STAYS) for name in ("guard", "inference", "inference-1")]) as before:
        assert (await restarted(stack, "inference-1"))[0] == 0
        one = pids(stack)
        assert (await restarted(stack, "inference"))[0] == 0
        both = pids(stack)
    assert [name for name in before if one[name] != before[name]] == ["inference-1"]
    assert sorted(name for name in before if both[name] != one[name]) == ["inference", "inference-1"]


async def test_what_a_process_holds_is_waited_for_and_never_killed(
    stack: Stack, plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    """Fails if the process is killed when the patience is over."""
    async with running(stack, [plan_for("guard", HOLDS, grace_seconds=1), plan_for("gateway", STAYS)]) as before:
        code, said = await restarted(stack, patience=1)
        assert (code, pids(stack)) == (1, before)
        assert "still finishes what it holds; the others were not touched" in said[0]
        assert (tmp_path / "guard.asked").exists()
        (tmp_path / "guard.finished").touch()


async def test_where_a_successor_cannot_start_the_rest_stays(stack: Stack, plan_for: Callable[..., Plan]) -> None:
    async with running(stack, [plan_for("guard", ONCE), plan_for("gateway", STAYS)]) as before:
        code, said = await restarted(stack)
        assert code == 1 and "guard cannot start" in said[0]
        assert pids(stack)["gateway"] == before["gateway"]


async def test_wrong_names_and_no_stack_are_said(stack: Stack, plan_for: Callable[..., Plan]) -> None:
    assert (await restarted(stack))[0] == 3
    async with running(stack, [plan_for("guard", STAYS)]):
        code, said = await restarted(stack, "gaurd")
    assert (code, said) == (1, ["✗ gaurd: no such process here; there are guard"])
