"""What is declared, what is pinned and what is documented are one list."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OWN = {"strongroom", "strongroom-protos"}
EXTRAS_NOT_INSTALLED = {"gpu", "openvino", "presidio"}  # whoever wants one installs it


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    names: set[str] = set()
    for file in ("pyproject.toml", "client/pyproject.toml", "protos/pyproject.toml"):
        project = tomllib.loads((ROOT / file).read_text())["project"]
        extras = project.get("optional-dependencies", {})
        wanted = project["dependencies"] + [
            one for name in extras.keys() - EXTRAS_NOT_INSTALLED for one in extras[name]
        ]
        names |= {normal(re.split(r"[<>=\[ ]", requirement)[0]) for requirement in wanted}
    return names - OWN


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def test_every_declared_dependency_is_pinned(pinned: dict[str, str]) -> None:
    assert declared() - pinned.keys() == set()


def test_no_pin_names_a_build_or_a_place(pinned: dict[str, str]) -> None:
    assert [version for version in pinned.values() if re.search(r"[+@/ ]", version)] == []


def test_every_declared_dependency_is_documented() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert [name for name in declared() if name not in text] == []
