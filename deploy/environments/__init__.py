"""Environments beside the worker's own, each from its pins: for an engine, or a converter, that wants other versions.

`python -m deploy.environments NAME…` makes them in `.cache/engines`, or where STRONGROOM_INFERENCE_ENVIRONMENTS says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PINS = Path(__file__).parent
FOLDER = Path(os.environ.get("STRONGROOM_INFERENCE_ENVIRONMENTS") or Path(__file__).parents[2] / ".cache" / "engines")
_LINES = 20  # packages between two lines of progress


@dataclass(frozen=True)
class Pinned:
    """A folder, and the file that pins what is installed in it."""

    name: str
    pins: Path
    folder: Path

    @property
    def ready(self) -> bool:
        """Whether what is installed is what the pins say."""
        mark = self.folder / "installed"
        return mark.is_file() and mark.read_text() == self._digest()

    def once(self, install: Callable[[], None]) -> None:
        """Installs it into an empty place, where that has not been done."""
        if self.ready:
            return
        print(f"installing {self.name} into {self.folder}", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        install()
        (self.folder / "installed").write_text(self._digest())

    def _digest(self) -> str:
        return hashlib.sha256(self.pins.read_bytes()).hexdigest()


class Environment(Pinned):
    """One of Python."""

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def prepare(self) -> None:
        self.once(self.install)

    def install(self) -> None:
        """--no-deps: the pins are the whole environment, less what would break it."""
        venv.create(self.folder, with_pip=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
        _with_progress([*pip, "--progress-bar", "off", "-r", str(self.pins)])


def environment(name: str) -> Environment:
    return Environment(name, PINS / f"{name}.txt", FOLDER / name)


def _with_progress(command: list[str]) -> None:
    """Runs pip and says how far it is. Raises CalledProcessError, after the end of what pip said."""
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        collected = 0
        for line in process.stdout:
            said.append(line)
            collected += line.startswith("Collecting ")
            if line.startswith("Collecting ") and collected % _LINES == 0:
                print(f"    {collected} packages…", file=sys.stderr, flush=True)
    if process.returncode:
        print("".join(said[-20:]), file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command)
