"""One real process, supervised: its lives, its reasons, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from stack import runfiles
from stack.process import TETHER, Plan
from stack.restarts import Backoff, Restarts
from stack.supervised import StartFailed, Supervised

STAYS = "ready.touch(); import time; time.sleep(60)"
QUICK = Backoff(first=0.01, longest=0.05, settled=60)


@asynccontextmanager
async def supervising(plan: Plan, folder: Path, said: list[str]) -> AsyncIterator[Supervised]:
    process = Supervised(plan, folder, said.append, Restarts(QUICK))
    life = asyncio.create_task(process.run())
    try:
        yield process
    finally:
        await process.stop()
        await life


async def test_a_ready_process_is_written_down_and_the_file_goes_with_it(
    plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    async with supervising(plan_for("echo", STAYS, grpc="127.0.0.1:1"), tmp_path, []) as process:
        await process.ready
        run = runfiles.read(tmp_path, "echo")
        assert run and (run.state, run.reason, run.restarts, run.grpc) == ("ready", "", 0, "127.0.0.1:1")
        assert run.process()
    assert runfiles.read(tmp_path, "echo") is None
    assert run.process() is None


async def test_a_killed_process_is_started_again(plan_for: Callable[..., Plan], tmp_path: Path) -> None:
    said: list[str] = []
    async with supervising(plan_for("echo", STAYS), tmp_path, said) as process:
        await process.ready
        first = runfiles.read(tmp_path, "echo")
        assert first
        os.kill(first.pid, signal.SIGKILL)
        while not any("ready again" in line for line in said):
            await asyncio.sleep(0.01)
        second = runfiles.read(tmp_path, "echo")
        assert second and second.pid != first.pid and second.restarts == 1 and second.state == "ready"
    assert "was ended by SIGKILL" in said[0]


async def test_a_misconfigured_process_is_reported_with_its_own_words_and_not_started_again(
    plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    code = """
import sys
print("noise before", file=sys.stderr)
print("echo cannot start:\\nSTRONGROOM_ECHO_SIZE: 'x' is not a whole number", file=sys.stderr)
sys.exit(78)
"""
    async with supervising(plan_for("echo", code), tmp_path, []) as process:
        with pytest.raises(StartFailed) as failure:
            await process.ready
    assert str(failure.value).startswith("echo cannot start: STRONGROOM_ECHO_SIZE: 'x' is not a whole number\nlog: ")
    assert str(tmp_path / "echo.log") in str(failure.value)
    assert (tmp_path / "echo.log").read_text().count("cannot start") == 1


async def test_a_process_that_keeps_dying_before_it_was_ever_ready_fails_the_start(
    plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    async with supervising(plan_for("echo", "raise SystemExit('no disk left')"), tmp_path, []) as process:
        with pytest.raises(StartFailed, match="ended with exit code 1: no disk left"):
            await process.ready


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(
    plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    said: list[str] = []
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{STAYS}"
    async with supervising(plan_for("echo", stubborn, grace_seconds=0.1), tmp_path, said) as process:
        await process.ready
        run = runfiles.read(tmp_path, "echo")
    assert run and run.process() is None
    assert "was killed" in said[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word to children is Linux's own")
def test_the_children_of_a_killed_parent_end(tmp_path: Path) -> None:
    sign = tmp_path / "pid"
    child = f"import os, time; open({str(sign)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent_code = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, "-IS", {str(TETHER)!r}, str(os.getpid()), sys.executable, "-c", {child!r}],
                 start_new_session=True)
sys.stdin.read()
"""
    parent = psutil.Popen([sys.executable, "-c", parent_code], stdin=-1)
    try:
        while not (sign.exists() and sign.read_text()):
            assert parent.is_running()
        orphan = psutil.Process(int(sign.read_text()))
    finally:
        parent.kill()
        parent.wait()
    psutil.wait_procs([orphan], timeout=10)
    assert not orphan.is_running()
