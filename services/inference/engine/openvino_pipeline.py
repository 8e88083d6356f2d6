"""The worker's end of the process that holds an openvino-genai pipeline."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from services.inference.engine.protocol import EngineDied
from services.inference.models.wheel import ModelUnavailable

_PROGRAM = Path(__file__).with_name("openvino_process.py")

# As openvino_process has them: it cannot be imported here, nor can it import this.
Told = tuple[int, list[int], list[float], str]
RUNNING, ENDED, NO_MEMORY, REFUSED = "running", "ended", "no memory", "refused"


class Pipeline(Protocol):
    """What the engine asks of it. Raises EngineDied."""

    def turn(self, added: Sequence[tuple[int, list[int], dict[str, Any]]], cancelled: Sequence[int]) -> list[Told]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """How a pipeline is made."""

    folder: Path
    device: str
    scheduling: Mapping[str, Any]  # of SchedulerConfig
    properties: Mapping[str, Any] = field(default_factory=dict)  # of the device's plugin


class PipelineProcess:
    """Blocks while its process makes a step, without Python's lock. Owned by one thread at a time."""

    def __init__(self, python: str) -> None:
        """`python` has openvino-genai. -P: the program's folder is no place to import from."""
        ours, theirs = socket.socketpair()
        with theirs:
            own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            self._process = subprocess.Popen(
                [python, "-P", str(_PROGRAM), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=own,
            )  # fmt: skip
        self._connection: Connection[Any, Any] = Connection(ours.detach())

    def open(self, opening: Opening) -> str:
        """Its version. A pipeline that was open before is gone. Raises ModelUnavailable."""
        done, answer = self._ask(
            "open", str(opening.folder), opening.device, dict(opening.scheduling), dict(opening.properties)
        )
        if not done:
            raise ModelUnavailable(f"openvino-genai cannot open {opening.folder}: {answer}")
        return str(answer)

    def turn(self, added: Sequence[tuple[int, list[int], dict[str, Any]]], cancelled: Sequence[int]) -> list[Told]:
        done, answer = self._ask("turn", list(added), list(cancelled))
        if not done:  # what the pipeline holds after a step that failed, nobody knows
            self.close()
            raise EngineDied(f"openvino-genai failed in a step: {answer}")
        told: list[Told] = answer
        return told

    def cache_bytes(self) -> int:
        """Taken by the KV cache; 0 before the first step."""
        done, answer = self._ask("cache")
        return int(answer) if done else 0

    def close(self) -> None:
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:  # in a long step: nothing that it makes is wanted any more
            self._process.kill()
            self._process.wait()

    def _ask(self, *command: Any) -> tuple[bool, Any]:
        try:
            self._connection.send(command)
            answer: tuple[bool, Any] = self._connection.recv()
        except (OSError, EOFError):
            raise EngineDied("the process of openvino-genai has ended") from None
        return answer
