"""The repository as a thing to look at: its files, and what they parse to."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ("_pb2.py", "_pb2_grpc.py", "_pb2.pyi", "_pb2_grpc.pyi")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def files() -> list[str]:
    """Every file that belongs to the repository, committed or about to be, as a path from its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:  # an archive without its history
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return sorted(name for name in names if (ROOT / name).is_file() and not name.endswith(GENERATED))


@pytest.fixture(scope="session")
def sources(files: list[str]) -> Mapping[str, str]:
    """Python source by path."""
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in files if name.endswith(".py")}


@pytest.fixture(scope="session")
def trees(sources: Mapping[str, str]) -> Mapping[str, ast.Module]:
    return {name: ast.parse(source, name) for name, source in sources.items()}


@pytest.fixture(scope="session")
def tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of the virtual environment."""

    def run(name: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / name), *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)

    return run
