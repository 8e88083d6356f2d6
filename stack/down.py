"""Ends the stack of a home: its supervisor, or what a killed one left behind."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from stack import runfiles
from stack.options import Stack
from stack.plan import drain_seconds
from stack.reporting import Say

STOP_SECONDS = 90.0  # every group's grace together, without what the gateway may wait for
LEFT_OVER_SECONDS = 10.0
PAUSE_SECONDS = 0.05


def take_down(stack: Stack, say: Say) -> int:
    """0 when nothing runs any more; also when nothing ran."""
    folder = stack.run_folder
    if not runfiles.is_held(folder):
        return _end_left_over(stack, say)
    supervisor = runfiles.read(folder, runfiles.SUPERVISOR)
    process = supervisor.process() if supervisor else None
    if process is None:  # it holds the lock and has not written its file yet, or is about to leave
        say(f"the stack in {stack.home} is just starting or stopping: try again in a moment")
        return 1
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    seconds = STOP_SECONDS + drain_seconds(stack)
    patience = time.monotonic() + seconds
    while runfiles.is_held(folder):
        if time.monotonic() > patience:
            say(f"the supervisor (pid {process.pid}) still stops after {seconds:.0f} s; see {stack.log_folder}")
            return 1
        time.sleep(PAUSE_SECONDS)
    say(f"the stack in {stack.home} is down")
    return 0


def _end_left_over(stack: Stack, say: Say) -> int:
    left = {run.name: process for run in runfiles.read_all(stack.run_folder) if (process := run.process())}
    for process in left.values():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(list(left.values()), LEFT_OVER_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for run in runfiles.read_all(stack.run_folder):
        runfiles.remove(stack.run_folder, run.name)
    if left:
        say(f"ended what an earlier run left behind: {', '.join(left)}")
    else:
        say(f"no stack runs in {stack.home}")
    return 0
