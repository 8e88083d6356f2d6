"""docs/settings.md names every setting, with the default and the bounds that the code has."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from chassis.settings import InvalidSettings, StackSettings, load, variables
from stack.options import StackOptions
from stack.services_settings import KINDS, OTHERS

KINDS_AND_STACK: dict[str, type[StackSettings]] = {**KINDS, "stack": StackOptions}
OF_COMMANDS = {"STRONGROOM_RELEASE_KEY", "STRONGROOM_SOAK"}  # of `make bundle`, and of tests
SHARED = {field.name for field in fields(StackSettings)}


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """By section: each setting's default and bound, as they are written."""
    sections = (root / "docs" / "settings.md").read_text().split("\n## ")[1:]
    row = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| ([^|]*?) ?\| [^|]*\|$", re.MULTILINE)
    return {
        section.partition("\n")[0]: {name: (default, bound) for name, default, bound in row.findall(section)}
        for section in sections
    }


def own_fields(kind: type[StackSettings]) -> dict[str, Any]:
    return {field.name: field for field in fields(kind) if field.name not in SHARED}


def written(value: object, root: Path) -> str:
    """As one would set it."""
    if value is None or value is MISSING:
        return ""
    if isinstance(value, Path) and value.is_absolute():
        return str(value.relative_to(root))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("service", KINDS_AND_STACK)
def test_every_setting_stands_there_with_its_default(tables, root: Path, service: str) -> None:
    defaults = {
        f"STRONGROOM_{service.upper()}_{name.upper()}": written(field.default, root)
        for name, field in own_fields(KINDS_AND_STACK[service]).items()
    }
    assert {name: default for name, (default, _) in tables[service].items()} == defaults


def test_every_shared_setting_stands_there_with_its_default(tables, root: Path) -> None:
    defaults = {f"STRONGROOM_{field.name.upper()}": written(field.default, root) for field in fields(StackSettings)}
    assert {name: default for name, (default, _) in tables["Every service"].items()} == defaults


def bounded(tables: dict[str, dict[str, tuple[str, str]]]) -> list[tuple[str, str, float, float]]:
    """Service, setting and both ends of each bound that is two numbers."""
    found = []
    for section, rows in tables.items():
        for name, (_, bound) in rows.items():
            if ends := re.fullmatch(r"([\d.,]+) (?:to ([\d.,]+)|or more)", bound):
                low, high = (float(end.replace(",", "")) if end else math.inf for end in ends.groups())
                found.append((section if section in KINDS_AND_STACK else "gateway", name, low, high))
    return found


def refused(service: str, name: str, value: float | str) -> bool:
    try:
        load(KINDS_AND_STACK[service], service, {name: value if isinstance(value, str) else f"{value:.12g}"})
    except InvalidSettings as wrong:
        return name in str(wrong)
    return False


def test_bounds_are_those_that_a_start_checks(tables) -> None:
    """Fails if a bound in a settings.py is moved by one."""
    settings = bounded(tables)
    assert len(settings) > 40
    for service, name, low, high in settings:
        step = 1 if math.isinf(high) or high - low > 1 else 0.01
        assert not refused(service, name, low), f"{name}: {low} is said to be taken"
        assert refused(service, name, low - step), f"{name}: {low - step} is said to be refused"
        assert math.isinf(high) or not refused(service, name, high), f"{name}: {high} is said to be taken"
        assert math.isinf(high) or refused(service, name, high + step), f"{name}: {high + step} is said to be refused"


def test_words_that_a_setting_takes_are_all_named(tables) -> None:
    """By what a start says of another word, as far as it says it."""
    checked = 0
    for section, rows in tables.items():
        service = section if section in KINDS_AND_STACK else "gateway"
        for name, (_, bound) in rows.items():
            words = re.findall(r"`(\w+)`", bound)
            for word in words:
                assert not refused(service, name, word) or "production" in word, f"{name}: {word} is said to be taken"
            if words:
                with pytest.raises(InvalidSettings) as wrong:
                    load(KINDS_AND_STACK[service], service, {name: "nonsense"})
                told = re.sub(r"^\S+ |'nonsense'|nonsense", "", str(wrong.value))
                assert set(words) <= set(re.findall(r"\w+", told)), f"{name}: {told}"
                if listed := re.search(r"one of ([\w, ]+)", told):
                    assert set(listed[1].split(", ")) == set(words), name
                checked += 1
    assert checked >= 7


def test_no_document_names_a_setting_that_nothing_reads(root: Path) -> None:
    known = {name for service, kind in KINDS_AND_STACK.items() for name in variables(kind, service)}
    known |= OTHERS | OF_COMMANDS | set(re.findall(r"\$\{(STRONGROOM_\w+)", (root / "compose.yaml").read_text()))
    for document in [*root.glob("docs/*.md"), *root.glob("README*.md")]:
        named = set(re.findall(r"STRONGROOM_[A-Z_]*[A-Z]\b(?!_)", document.read_text()))
        assert named - known == set(), document.name
