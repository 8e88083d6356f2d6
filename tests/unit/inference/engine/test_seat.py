"""Which engine is opened, and what is said where its packages are missing."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import pytest

from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.engine.seat import CANDIDATES, Candidate, EngineMissing
from services.inference.models.wheel import ModelUnavailable


@pytest.mark.parametrize("name", [name for name in CANDIDATES if not CANDIDATES[name].missing()])
def test_each_engine_has_a_function_that_opens_it(name: str) -> None:
    module, _, function = CANDIDATES[name].opens.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_without_its_packages_an_engine_is_not_tried_and_the_message_says_what_installs_them(tmp_path: Path) -> None:
    absent = Candidate(
        name="absent", runs="", opens="no_such_module:open", needs=("os", "no_such_package"), target="absent"
    )
    with pytest.raises(EngineMissing, match=r"needs no_such_package.* run make absent.*torch.*echo") as missing:
        absent.open(EngineSettings(), tmp_path, print)
    assert isinstance(missing.value, ModelUnavailable)  # which a worker's start tells and ends on


def test_an_engine_with_a_process_of_its_own_takes_its_environment_before_the_workers(tmp_path: Path) -> None:
    apart = Candidate(
        name="apart", runs="", opens="", beside=("no_such_package",), environment="apart-packages", target="apart"
    )
    assert apart.missing(str(tmp_path)) == ("no_such_package",)
    assert apart.interpreter(str(tmp_path))[0] == sys.executable
    python = tmp_path / "apart-packages" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert apart.missing(str(tmp_path)) == ()
    assert apart.interpreter(str(tmp_path))[0] == str(python)
    assert "apart-packages" in apart.interpreter(str(tmp_path))[1]


def test_the_choice_is_logged_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        engine = open_engine(EngineSettings(engine="echo", slots=3), tmp_path)
    assert (engine.name, engine.capacity().slots) == ("echo", 3)
    assert "engine: echo, as STRONGROOM_INFERENCE_ENGINE says" in caplog.text
