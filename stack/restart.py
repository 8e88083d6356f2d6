"""Replaces a stack's processes one by one while it serves: each is asked to end, and its successor has to take work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from chassis.start import CannotStart
from stack import runfiles
from stack.options import Stack
from stack.plan import service_of
from stack.reporting import Say
from stack.runfiles import RunFile

# Whoever is called goes before who calls it, so that a new version's callers meet services that know what they say.
ORDER = ("monitor", "guard", "inference", "audit", "gateway")
PAUSE_SECONDS = 0.05


def restart(stack: Stack, names: Sequence[str], patience_seconds: float, say: Say) -> int:
    """0 when every named process, or every one, has a successor that takes work. The first that has none is the last
    that is touched."""
    if not runfiles.is_held(stack.run_folder):
        say(f"no stack runs in {stack.home}: start one with `strongroom up`")
        return 3
    try:
        for run in _chosen(runfiles.read_all(stack.run_folder), names):
            took = _replace(stack, run, time.monotonic() + patience_seconds)
            say(f"✓ {run.name} replaced in {took:.1f} s")
    except CannotStart as stuck:
        say(f"✗ {stuck}")
        return 1
    return 0


def _chosen(running: list[RunFile], names: Sequence[str]) -> list[RunFile]:
    """In order. A service's name stands for all its workers."""
    known = {run.name for run in running if service_of(run.name) in ORDER}
    if unknown := [name for name in names if name not in known | {service_of(each) for each in known}]:
        raise CannotStart(f"{unknown[0]}: no such process here; there are {', '.join(sorted(known))}")
    chosen = [
        run for run in running if run.name in known and (not names or {run.name, service_of(run.name)} & {*names})
    ]
    return sorted(chosen, key=lambda run: (ORDER.index(service_of(run.name)), run.name))


def _replace(stack: Stack, run: RunFile, patience: float) -> float:
    """Never killed: what it holds is finished or handed on, and the supervisor starts another when it has ended."""
    began, process = time.monotonic(), run.process()
    with suppress(psutil.NoSuchProcess):
        if process:
            process.terminate()
    _until(lambda: run.process() is None, patience, f"{run.name} (pid {run.pid}) still finishes what it holds")
    _until(lambda: _is_ready(stack, run), patience, f"the next {run.name} does not take work yet; log: {run.log}")
    return time.monotonic() - began


def _is_ready(stack: Stack, before: RunFile) -> bool:
    now = runfiles.read(stack.run_folder, before.name)
    if now and now.state == "misconfigured":
        raise CannotStart(f"{now.name} {now.reason}\nlog: {now.log}")
    if not runfiles.is_held(stack.run_folder):
        raise CannotStart(f"the stack in {stack.home} went down meanwhile")
    return now is not None and now.state == "ready" and (now.pid, now.started) != (before.pid, before.started)


def _until(done: Callable[[], bool], patience: float, otherwise: str) -> None:
    while not done():
        if time.monotonic() > patience:
            raise CannotStart(f"{otherwise}; the others were not touched")
        time.sleep(PAUSE_SECONDS)
