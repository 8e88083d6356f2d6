"""One service as a process of its own, in a home of its own, for a benchmark that plays its neighbour."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.local_stack import cpu_seconds
from chassis.settings import HTTP_OFFSET, PORT_OFFSETS
from stack.keys import make_development_keys
from stack.ports import free_port_base

READY_SECONDS = 60.0


@dataclass(frozen=True)
class LocalService:
    """A running service."""

    pid: int
    port: int
    home: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def gateway_token(self) -> str:
        return (self.home / "keys" / "service-gateway").read_text().strip()

    def cpu_seconds(self) -> float:
        """User and kernel time since its start."""
        return cpu_seconds(self.pid)

    def counters(self, prefix: str) -> Counter[str]:
        """Its counters of that prefix, without prefix and `_total`, summed over their labels."""
        return counters(self.port + HTTP_OFFSET, prefix)


def counters(http_port: int, prefix: str) -> Counter[str]:
    """The counters that a service shows on /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        labelled, _, value = line.rpartition(" ")
        name = labelled.partition("{")[0]
        if name.startswith(prefix) and name.endswith("_total"):
            found[name.removeprefix(prefix).removesuffix("_total")] += int(float(value))
    return found


@contextmanager
def local_service(
    name: str,
    given: Path | None = None,
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    ready_seconds: float = READY_SECONDS,
    log: int = subprocess.DEVNULL,
) -> Iterator[LocalService]:
    """Starts `python -m services.NAME` with no traces sent, waits until it takes work, and stops it at the end. In the
    home that is given, else in one that goes with it."""
    place = nullcontext(given) if given else tempfile.TemporaryDirectory(prefix="strongroom-bench-")
    with place as folder:
        home, base = Path(folder), free_port_base()
        make_development_keys(home / "keys")
        env = {
            **os.environ,
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_PORT_BASE": str(base),
            "STRONGROOM_TRACES_ADDRESS": "off",
            **(environment or {}),
        }
        process = subprocess.Popen([python, "-m", f"services.{name}"], env=env, stdout=log, stderr=log)
        try:
            service = LocalService(process.pid, base + PORT_OFFSETS[name], home)
            _await_ready(service, process, ready_seconds)
            yield service
        finally:
            process.terminate()
            process.wait(30)


def _await_ready(service: LocalService, process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{service.port + HTTP_OFFSET}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the service did not get ready within {seconds:.0f} s")
