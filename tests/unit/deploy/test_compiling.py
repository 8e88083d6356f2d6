"""What is compiled: the modules that pyproject.toml names, none of which needs what a compiled module has not."""

from __future__ import annotations

import ast
import tomllib
from itertools import chain

import pytest

from deploy.compiling import missing_tools, modules
from services import ROOT

SOURCES = sorted(chain.from_iterable(modules().values()))


def test_each_pattern_finds_modules_and_none_is_found_twice() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["strongroom"]["compiled"]
    for pattern in [*told["interpreted"], *chain.from_iterable(told["groups"].values())]:
        assert any(ROOT.glob(pattern)), pattern
    assert len(set(SOURCES)) == len(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_a_module_that_is_compiled_leans_on_no_file_and_no_dictionary_of_its_own(source: str) -> None:
    """A compiled module lies elsewhere than its source, and its classes keep no `__dict__`."""
    names = {node.id for node in ast.walk(ast.parse((ROOT / source).read_text())) if isinstance(node, ast.Name)}
    assert not names & {"__file__", "vars", "cached_property"}


@pytest.mark.parametrize("source", SOURCES)
def test_no_coroutine_is_compiled(source: str) -> None:
    """Fails if `modules` does not look for them: a service with a stream then does not stop when it is told to."""
    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse((ROOT / source).read_text())))


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_compiled_class_holds_for_all_is_said_to_be_of_the_class(source: str) -> None:
    """mypyc takes a bare assignment for the default of each instance's own, which the class itself does not have."""
    classes = [node for node in ast.walk(ast.parse((ROOT / source).read_text())) if isinstance(node, ast.ClassDef)]
    for found in classes:
        bases = {ast.unparse(base) for base in found.bases}
        if bases & {"Enum", "IntEnum", "StrEnum", "Flag"}:
            continue
        names = [ast.unparse(node.targets[0]) for node in found.body if isinstance(node, ast.Assign)]
        assert set(names) <= {"__slots__"}, f"{found.name}: ClassVar"


def test_a_machine_without_a_compiler_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "compiler" in missing_tools()
