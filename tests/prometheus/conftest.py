"""promtool and amtool, as Debian packages them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]
TOOL_SECONDS = 120


@pytest.fixture(scope="session")
def promtool(debian_program: Callable[[str, str], str]) -> Tool:
    return _tool(debian_program("promtool", "prometheus"))


@pytest.fixture(scope="session")
def amtool(debian_program: Callable[[str, str], str]) -> Tool:
    return _tool(debian_program("amtool", "prometheus-alertmanager"))


def _tool(program: str) -> Tool:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS)

    return run
