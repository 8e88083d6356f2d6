"""A whole stack whose worker is a vllm one, under its own Python; `make test-vllm` runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.inference.engine.seat import ENVIRONMENTS
from stack.ports import free_port_base

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("STRONGROOM_TEST_VLLM") or not (ENVIRONMENTS / "vllm" / "bin" / "python").is_file(),
        reason="needs the environment of the vllm engine: make test-vllm",
    ),
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
]

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 900.0
MARKER = "Zanzibarium"  # in a prompt, and nowhere else


class Stack:
    def __init__(self, home: Path) -> None:
        self.home, self.port_base = home, free_port_base()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
        self.environment = kept | {
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_PORT_BASE": str(self.port_base),
            "STRONGROOM_INFERENCE_FUSED": "false",
            "STRONGROOM_INFERENCE_CONTEXT_TOKENS": "1024",
            "STRONGROOM_INFERENCE_SLOTS": "4",
        }
        if models := os.environ.get("STRONGROOM_TEST_MODELS"):
            (home / "models").symlink_to(Path(models).absolute() / "models")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "strongroom", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def worker(self) -> psutil.Process:
        entry = json.loads((self.home / "run" / "inference.json").read_text())
        return psutil.Process(entry["pid"])

    def engine(self) -> psutil.Process:
        [core] = [child for child in self.worker().children() if "EngineCore" in " ".join(child.cmdline())]
        return core

    def ready(self) -> bool:
        return bool(json.loads(self.run("status", "--json").stdout)["ready"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("vllm"))
    began = made.run("up", "--detach", "--engine", "vllm")
    try:
        assert began.returncode == 0, began.stdout + began.stderr
        yield made
    finally:
        ended = made.run("down")
        assert ended.returncode == 0, ended.stdout + ended.stderr


def until(true: Callable[[], bool]) -> None:
    over = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < over, "it never came to be"
        time.sleep(0.2)


def test_a_question_is_answered_and_listed_and_traced_down_to_vllms_own_span(stack: Stack) -> None:
    answer = stack.json("ask", f"What is the capital of {MARKER}?", "--temperature", "0", "--max-tokens", "8")
    assert answer["finish_reason"] in ("STOP", "LENGTH") and answer["usage"]["output_tokens"] > 0

    def spans() -> dict[str, Any]:
        return {span["name"]: span for span in stack.json("trace", answer["trace_id"])["spans"]}

    until(lambda: "llm_request" in spans())
    found = spans()
    chat = next(span for name, span in found.items() if name.startswith("chat "))
    assert found["llm_request"]["parent"] == chat["span_id"]


def test_no_log_of_any_process_holds_a_prompt(stack: Stack) -> None:
    """Fails if vLLM logs its requests, or with a formatter of its own what went wrong."""
    asked = stack.run("ask", f"{MARKER} " * 900, "--max-tokens", "200")
    assert asked.returncode != 0  # too long for the context
    stack.run("ask", f"Say {MARKER}.", "--max-tokens", "8")
    logs = {path.name: path.read_text(errors="replace") for path in (stack.home / "log").iterdir()}
    assert "EngineCore" in logs["inference.log"], "vLLM's own lines are there"
    assert [name for name, log in logs.items() if MARKER in log] == []


def test_invariant_8_an_answer_outlives_the_engines_process(stack: Stack) -> None:
    """Greedy, for vLLM's generator cannot be set to a position. Fails if the loop of a dead engine ends what it held as
    failed, or the worker does not end."""
    question = ("ask", "Tell a story about a bank.", "--temperature", "0", "--max-tokens", "200")
    undisturbed = stack.run(*question)
    assert undisturbed.returncode == 0, undisturbed.stderr
    first, core = stack.worker(), stack.engine()
    asking = subprocess.Popen(
        [BIN / "strongroom", *question],
        env=stack.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert asking.stdout
    begun = os.read(asking.stdout.fileno(), 4096).decode()
    core.send_signal(signal.SIGKILL)
    rest, errors = asking.communicate(timeout=PATIENCE_SECONDS)
    assert (asking.returncode, begun + rest) == (0, undisturbed.stdout), errors
    assert not first.is_running()


def test_vllms_processes_end_with_a_worker_that_is_killed(stack: Stack) -> None:
    """Fails if the plugin does not tie vLLM's engine to the worker."""
    until(stack.ready)
    core = stack.engine()
    below = [core, *core.children(recursive=True)]
    stack.worker().send_signal(signal.SIGKILL)
    until(lambda: not any(process.is_running() for process in below))
    until(stack.ready)
