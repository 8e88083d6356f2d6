"""The built wheel in an environment of its own, used by a program that knows nothing else of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).parent / "program.py"
FROM_THE_WHEEL = (
    "import strongroom.client, strongroom.gateway.v1.gateway_pb2 as g; print(strongroom.client.__file__, g.__file__)"
)


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Outside the tree, and with nothing of this environment's own in reach."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("STRONGROOM_", "PYTHON"))}
    return subprocess.run([*command], cwd=folder, env=environ, capture_output=True, text=True, timeout=120)


def install_as_declared(owner: Distribution, site: Path, installed: set[str]) -> None:
    """Links what the distribution asks for, and nothing else, from what is installed here."""
    for requirement in owner.requires or []:
        name = re.split(r"[^\w.-]", requirement)[0]
        if "extra ==" in requirement or name in installed:
            continue
        installed.add(name)
        dependency = distribution(name)
        for path in dependency.files or []:
            source = Path(str(dependency.locate_file(path)))
            if ".." not in path.parts and "__pycache__" not in path.parts and source.is_file():
                target = site / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
        install_as_declared(dependency, site, installed)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the tree with `env`, where the wheel and what it declares are installed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "-q", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT / "client"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    put = run(*pip, "--python", python, "install", "-q", "--no-index", "--no-deps", wheel, folder=folder)
    assert put.returncode == 0, put.stderr
    [site] = (folder / "env" / "lib").glob("python3*/site-packages")
    [info] = site.glob("strongroom-*.dist-info")
    installed: set[str] = set()
    install_as_declared(Distribution.at(info), site, installed)
    assert installed == {"grpcio", "protobuf", "googleapis-common-protos", "typing-extensions"}
    return folder


def test_one_wheel_and_three_dependencies_are_enough_to_ask(gateway: Any, elsewhere: Path) -> None:
    python = elsewhere / "env" / "bin" / "python"
    found = run(python, "-c", FROM_THE_WHEEL, folder=elsewhere)
    assert all(path.startswith(str(elsewhere)) for path in found.stdout.split()), found
    ended = run(python, "-I", PROGRAM, gateway.address, "key", folder=elsewhere)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["r-1", "NOT_FOUND record_id", "The vault is closed.", "tiny (64)", "False", "STOP"]  # fmt: skip  # noqa: E501


def test_the_programs_types_are_checked_strictly_against_the_wheel(elsewhere: Path) -> None:
    wrong = elsewhere / "wrong.py"
    wrong.write_text("from strongroom.client import Client\nClient().ask('not a question').txt\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--python-executable"]
    python = elsewhere / "env" / "bin" / "python"
    cache = ["--cache-dir", elsewhere / "cache"]
    checked = run(*command, python, *cache, PROGRAM, folder=elsewhere)
    assert checked.returncode == 0, checked.stdout
    told = run(*command, python, *cache, wrong, folder=elsewhere).stdout
    assert '"Answer" has no attribute "txt"' in told and 'expected "Question"' in told


def test_the_commands_of_the_wheel_start(elsewhere: Path) -> None:
    for command in ("strongroom", "strongroom-verify"):
        ended = run(elsewhere / "env" / "bin" / command, "--help", folder=elsewhere)
        assert ended.returncode == 0, ended.stderr
    ended = run(elsewhere / "env" / "bin" / "strongroom", "ask", "Why?", folder=elsewhere)
    assert ended.returncode == 2 and "no API key" in ended.stderr
