"""Compiled modules stand in for their sources, and only for these very sources."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chassis.compiled import MADE, SUFFIX, SWITCH, CompiledFinder, digest, why_interpreted
from services import COMPILED, ROOT

Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """`made(suffix=…)`: a folder made of the one source core.py."""
    (tmp_path / "core.py").write_text("answer = 42\n")

    def make(**other: object) -> Path:
        told = {"suffix": SUFFIX, "sources": {"core.py": digest(tmp_path / "core.py")}, **other}
        (tmp_path / MADE).write_text(json.dumps(told))
        return tmp_path

    return make


def test_what_is_of_these_sources_is_taken(made: Made) -> None:
    folder = made()
    assert why_interpreted(folder, folder) == ""


def test_a_source_that_changed_is_named_with_the_remedy(made: Made) -> None:
    folder = made()
    (folder / "core.py").write_text("answer = 43\n")
    why = why_interpreted(folder, folder)
    assert "1 of its sources" in why and "core.py" in why and "make compiled" in why


def test_a_source_that_is_gone_counts_as_changed(made: Made) -> None:
    folder = made()
    (folder / "core.py").unlink()
    assert "make compiled" in why_interpreted(folder, folder)


def test_another_python_takes_the_sources(made: Made) -> None:
    folder = made(suffix=".cpython-39-other.so")
    assert "another Python" in why_interpreted(folder, folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"suffix": 1}', json.dumps({"suffix": SUFFIX, "sources": []})])
def test_what_cannot_be_read_is_as_if_it_were_not_there(tmp_path: Path, text: str) -> None:
    (tmp_path / MADE).write_text(text)
    assert why_interpreted(tmp_path, tmp_path)


def test_nothing_compiled_is_said_with_the_remedy(tmp_path: Path) -> None:
    assert "make compiled" in why_interpreted(tmp_path, tmp_path)


@pytest.mark.parametrize("said", ["false", "0", "False"])
def test_a_setting_switches_it_off(made: Made, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(SWITCH, said)
    folder = made()
    assert SWITCH in why_interpreted(folder, folder)


def test_a_module_is_found_by_its_full_name(tmp_path: Path) -> None:
    (tmp_path / f"a.b.core{SUFFIX}").touch()
    finder = CompiledFinder(tmp_path)
    spec = finder.find_spec("a.b.core")
    assert spec and spec.origin == str(tmp_path / f"a.b.core{SUFFIX}")
    assert finder.find_spec("core") is finder.find_spec("a.b") is None


@pytest.mark.skipif(bool(why_interpreted(COMPILED, ROOT)), reason="nothing is compiled of these sources: make compiled")
@pytest.mark.parametrize("switch, kind", [("true", SUFFIX), ("false", ".py")])
def test_a_service_runs_what_was_compiled(tmp_path: Path, switch: str, kind: str) -> None:
    """A service starts, with `python -m`, on what was made of its own sources."""
    probe = "import runpy, sys, services.gateway.requests.fields as fields; print(fields.__file__)"
    begin = "import sys; sys.argv[0] = '-m'; "  # as Python does it while it looks for the module to run
    said = subprocess.run(
        [sys.executable, "-c", begin + probe], env={"PATH": "/usr/bin:/bin", SWITCH: switch}, cwd=ROOT,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.strip().endswith(kind)
