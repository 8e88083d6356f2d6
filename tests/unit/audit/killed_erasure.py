"""Erases in processes of its own, each killed at one step: `python -m tests.unit.audit.killed_erasure FOLDER`.

Prints a JSON object a line: where the log lies that a killed process left, what it was to erase, and the step.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from services.audit.custody.orders import Scope
from services.audit.writer import FaultPoints, Folders, Writer, WriterLimits
from tests.unit.audit.conftest import SMALL_SEGMENTS, Desk, FakeClock, Gateway

# What is erased, of which subjects of the tenant.
CASES: dict[str, tuple[str, list[str]]] = {
    "a subject": ("C", ["C", "D"]),
    "a subject of many": ("C", ["C", *(f"S{n}" for n in range(40))]),
    "a whole tenant": ("", ["C", "D"]),
}
_WRITES = os.O_WRONLY | os.O_RDWR


class Steps:
    """Names each thing that the process is about to do on the disk; dies before the one with this number."""

    def __init__(self, keys: Path, last: int | None) -> None:
        self._keys, self._last = str(keys), last
        self.names: list[str] = []
        self.armed = False

    def reached(self, name: str) -> None:
        if not self.armed:
            return
        if len(self.names) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's own audit events: they come before what they tell of."""
        if event == "os.rename" and str(arguments[1]).startswith(self._keys):
            self.reached(f"{Path(arguments[1]).name} is put in place")
        elif event == "open" and str(arguments[0]).startswith(self._keys) and arguments[2] & _WRITES:
            self.reached(f"{Path(arguments[0]).name} is written")


def opened(home: Path, faults: FaultPoints | None = None) -> Writer:
    limits = WriterLimits(journal=SMALL_SEGMENTS)
    return Writer(Folders(home / "audit", home / "keys"), FakeClock().clock(), limits, faults=faults)


def prepared(home: Path, subjects: list[str]) -> None:
    writer, gateway = opened(home), Gateway()
    for n, subject in enumerate(subjects):
        Desk().answered(writer, gateway, f"r{n}", subject)
    writer.stop()
    writer.close()


async def _erase(writer: Writer, scope: Scope) -> None:
    desk = Desk()
    async with desk.custodian(writer) as custodian:
        await desk.erased(custodian, scope)
    writer.commit([])  # writes down what was struck out of the book
    writer.custody.flush()


def erase(home: Path, subject: str, last: int | None, told: int) -> None:
    """Never returns: a process does this and nothing else."""
    steps = Steps(home / "audit" / "keys", last)
    sys.addaudithook(steps.hook)
    faults = FaultPoints(
        appending=lambda: steps.reached("an entry is appended"), synced=lambda: steps.reached("an entry is durable")
    )
    writer = opened(home, faults)
    scope = Desk().scope(writer, subject) if subject else Scope("bank")
    steps.armed = True
    asyncio.run(_erase(writer, scope))
    steps.armed = False
    writer.stop()
    os.write(told, json.dumps(steps.names).encode())
    os._exit(0)


def in_a_process(home: Path, subject: str, last: int | None) -> tuple[int, bytes]:
    """How it ended, and what it told."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            erase(home, subject, last, write)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    return os.waitpid(child, 0)[1], told


def main(folder: Path) -> None:
    for number, (subject, subjects) in enumerate(CASES.values()):
        base = folder / f"{number}"
        prepared(base / "base", subjects)
        shutil.copytree(base / "base", base / "whole")
        status, told = in_a_process(base / "whole", subject, None)
        assert status == 0, status
        for last, step in enumerate(json.loads(told)):
            home = base / f"{last}"
            shutil.copytree(base / "base", home)
            status, _ = in_a_process(home, subject, last)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            print(json.dumps({"home": str(home), "subject": subject, "step": step, "killed": killed}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
