"""What `up` says while it works: lines for people, in the supervisor's log too."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

Say = Callable[[str], None]


class Reporter:
    """Says each line to whoever started the stack and keeps it, with its time, in HOME/log/supervisor.log."""

    def __init__(self, say: Say, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._say = say
        self._log = log

    def __call__(self, line: str) -> None:
        self._say(line)
        with self._log.open("a") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")


class Pipe:
    """The end of `up --detach` in the background: JSON lines to the command that waits. Its leaving hurts nobody."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._open = True

    def say(self, line: str) -> None:
        self._send({"line": line})

    def finish(self, code: int) -> None:
        self._send({"exit": code})
        if self._open:
            os.close(self._descriptor)
            self._open = False

    def _send(self, message: dict[str, object]) -> None:
        try:
            if self._open:
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            os.close(self._descriptor)
            self._open = False


def last_words(log: Path, since: int) -> str:
    """Why a process ended, from what it wrote to its log after byte `since`: its own reason, else its last line."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    starts = [number for number, line in enumerate(lines) if line.endswith("cannot start:")]
    if starts:
        return "\n".join(lines[starts[-1] + 1 :][:20])
    return _event(lines[-1]) if lines else ""


def _event(line: str) -> str:
    try:
        entry = json.loads(line)
        return " ".join(str(entry[key]) for key in ("event", "exception") if key in entry)
    except (ValueError, TypeError, KeyError):
        return line[:300]
