"""A stack of its own for a benchmark, on ports and in a home that nobody else uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.ports import free_port_base

COMMAND = [sys.executable, "-m", "strongroom.cli.main"]
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class LocalStack:
    """A running stack."""

    home: Path
    port_base: int

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.port_base}"

    @property
    def api_key(self) -> str:
        return (self.home / "keys" / "development-api-key").read_text().strip()

    def pids(self) -> dict[str, int]:
        """Process of each service, Redis included."""
        found = {}
        for path in sorted((self.home / "run").glob("*.json")):
            entry = json.loads(path.read_text())
            if "pid" in entry:
                found[path.stem] = int(entry["pid"])
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """User and kernel time of each service since its start."""
        return {name: cpu_seconds(pid) for name, pid in self.pids().items()}


@contextmanager
def local_stack(
    *options: str,
    environment: dict[str, str] | None = None,
    inside: Callable[[Path], Sequence[str]] = lambda home: (),
) -> Iterator[LocalStack]:
    """Starts `strongroom up --detach` with the options; stops it at the end, and that includes SIGTERM. `inside` gives,
    for the home, a command that runs another one in surroundings of its own."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        home, port_base = Path(folder), free_port_base()
        place = ["--home", str(home)]
        env = {**os.environ, **(environment or {})}
        up = [*COMMAND, "up", "--detach", *place, "--port-base", str(port_base), *options]
        subprocess.run([*inside(home), *up], check=True, env=env)
        try:
            yield LocalStack(home, port_base)
        finally:
            subprocess.run([*COMMAND, "down", *place], check=False, env=env)


def cpu_seconds(pid: int) -> float:
    """User and kernel time of a process since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
