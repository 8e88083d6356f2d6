"""The whole suite, started and asked through its own commands, in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack.ports import free_port_base

BIN = Path(sys.executable).parent
COMMAND_SECONDS = 120


@dataclass
class Suite:
    """A home, and the commands on it."""

    home: Path
    port_base: int

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
        redis = {name: value for name, value in os.environ.items() if name == "STRONGROOM_REDIS_URL"}
        return {**kept, **redis, "STRONGROOM_HOME": str(self.home), "STRONGROOM_PORT_BASE": str(self.port_base)}

    def run(
        self, *arguments: str, command: str = "strongroom", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / command, *arguments],
            env=environment or self.environment, capture_output=True, text=True, timeout=COMMAND_SECONDS,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        """What a command that has to succeed prints."""
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BIN / "strongroom", *arguments],
            env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def up(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--detach", *options)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down")

    def status(self) -> dict[str, Any]:
        """Also of a stack that is not ready."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def pid(self, name: str) -> int:
        """From its run file; `supervisor` has one too."""
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Against the key that the running log gives out."""
        return self.run(str(self.home), "--key", self.run("audit", "key").stdout.strip(), command="strongroom-verify")

    def logs(self) -> str:
        """The end of every log, for whoever reads a failure."""
        parts = [f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.home.glob("log/*.log"))]
        return "\n".join(parts)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the session: the model is converted into it once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def suite(home: Path, left_model: Path) -> Iterator[Suite]:
    """One for all that ask the real model, file after file: what was killed has to serve the next ones."""
    suite = Suite(home, free_port_base())
    try:
        started = suite.up()
        assert started.returncode == 0, f"{started.stdout}{started.stderr}\n{suite.logs()}"
        left_model.symlink_to(home / "models")
        yield suite
    finally:
        suite.down()


@pytest.fixture(scope="module")
def echo_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """With the engine that gives prompts back: up within seconds, and without a model."""
    suite = Suite(tmp_path_factory.mktemp("echo"), free_port_base())
    started = suite.up("--engine", "echo")
    assert started.returncode == 0, f"{started.stdout}{started.stderr}\n{suite.logs()}"
    yield suite
    suite.down()


@pytest.fixture(scope="module")
def suite_at() -> Iterator[Callable[[Path, int], Suite]]:
    """A suite in a home and at ports of the test's own; whatever is up in the end is stopped."""
    made: list[Suite] = []

    def make(home: Path, port_base: int) -> Suite:
        made.append(Suite(home, port_base))
        return made[-1]

    yield make
    for suite in made:
        suite.down()


@pytest.fixture
def stopped_suite(suite: Suite, tmp_path: Path) -> Iterator[Suite]:
    """Beside the one that is up, with its model. Not up yet; whatever a test starts in it is stopped."""
    (tmp_path / "models").symlink_to(suite.home / "models")
    stopped = Suite(tmp_path, free_port_base())
    yield stopped
    stopped.down()
