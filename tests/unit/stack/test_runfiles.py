"""Run files: who runs where, and one supervisor a home."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stack import runfiles
from stack.runfiles import HomeTaken, RunFile


@pytest.fixture
def own_run() -> RunFile:
    return RunFile(name="audit", pid=os.getpid(), started=runfiles.start_time(os.getpid()), since="")


def test_a_run_file_names_its_process_while_it_lives(own_run: RunFile) -> None:
    process = own_run.process()
    assert process and process.pid == os.getpid()


def test_a_pid_that_another_process_has_now_is_not_trusted(own_run: RunFile) -> None:
    assert replace(own_run, started=own_run.started - 60).process() is None


def test_a_process_that_is_gone_is_none(own_run: RunFile) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        run = replace(own_run, pid=gone.pid, started=runfiles.start_time(gone.pid))
    assert run.process() is None


def test_what_is_written_is_read(own_run: RunFile, tmp_path: Path) -> None:
    runfiles.write(tmp_path, own_run)
    runfiles.write(tmp_path, replace(own_run, name="supervisor"))
    assert runfiles.read_all(tmp_path) == [own_run]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "audit"}', "\x00"])
def test_a_file_that_is_not_ours_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "audit.json").write_text(content)
    assert runfiles.read(tmp_path, "audit") is None


def test_one_supervisor_holds_a_home(tmp_path: Path) -> None:
    assert not runfiles.is_held(tmp_path)
    with runfiles.holding(tmp_path):
        assert runfiles.is_held(tmp_path)
        with pytest.raises(HomeTaken), runfiles.holding(tmp_path):
            pass
    assert not runfiles.is_held(tmp_path)
