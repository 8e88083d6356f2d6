"""HOME/run: who holds this home, and one JSON file a process with its pid, addresses and state."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO

import psutil

SUPERVISOR = "supervisor"
LOCK = "supervisor.lock"


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What is known of one process. `state`: starting, ready, restarting, misconfigured or stopped."""

    name: str
    pid: int
    started: float  # seconds since 1970, as the kernel says it: with the pid, it names one process for good
    since: str  # the same for people, ISO 8601
    state: str = "starting"
    reason: str = ""
    restarts: int = 0
    address: str = ""  # host:port of what it is for
    grpc: str = ""  # the same, if that is gRPC
    http: str = ""
    log: str = ""

    def process(self) -> psutil.Process | None:
        """The process, if it still is that one: a pid alone may have gone to somebody else."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same else None


def start_time(pid: int) -> float:
    """When the kernel says the process began; 0 if it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def write(folder: Path, run: RunFile) -> None:
    """Readers see the old file or the new one, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f".{run.name}.{secrets.token_hex(4)}"
    whole.write_text(json.dumps(asdict(run), indent=2) + "\n")
    whole.replace(folder / f"{run.name}.json")


def remove(folder: Path, name: str) -> None:
    (folder / f"{name}.json").unlink(missing_ok=True)


def read(folder: Path, name: str) -> RunFile | None:
    """None where there is no such file, or it is not one of ours."""
    try:
        content = json.loads((folder / f"{name}.json").read_text())
        known = {field.name for field in fields(RunFile)}  # another version may have written more, or less
        return RunFile(**{key: value for key, value in content.items() if key in known})
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def read_all(folder: Path) -> list[RunFile]:
    """Every process's file but the supervisor's, by name."""
    names = sorted(path.stem for path in folder.glob("*.json") if path.stem != SUPERVISOR)
    return [run for name in names if (run := read(folder, name))]


class HomeTaken(Exception):
    """Another supervisor holds this home."""


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Holds the home while open. The kernel lets go of the lock with the process, so it is never stale."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        if not _locked(lock):
            raise HomeTaken
        yield


def is_held(folder: Path) -> bool:
    """Whether a supervisor lives. Taking the lock for a moment is the test; the file itself says nothing."""
    with suppress(FileNotFoundError), (folder / LOCK).open() as lock:
        return not _locked(lock)
    return False


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def own_run_file(since: str) -> RunFile:
    return RunFile(name=SUPERVISOR, pid=os.getpid(), started=start_time(os.getpid()), since=since, state="starting")
