"""Takes modules that were compiled ahead of time in place of their sources, where they are of these very sources.

`make compiled` translates the deciding core to C with mypyc (deploy/compiling.py). What it makes lies in one folder,
with the hash of every source in `made.json`. A source that was changed since, another Python or a folder that is not
there mean that all modules run interpreted: slower, and the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

SWITCH = "STRONGROOM_COMPILED"  # false: run the sources
MADE = "made.json"
SUFFIX = EXTENSION_SUFFIXES[0]  # names the Python and the machine that it is for

said = ""  # of this process, for its log; empty: it was not asked for


class CompiledFinder(MetaPathFinder):
    """Finds the modules that lie in the folder, each under its full name, and the libraries that they share."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name.removesuffix(SUFFIX): path for path in folder.glob(f"*{SUFFIX}")}

    def __len__(self) -> int:
        return len(self._files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))


def use(folder: Path, root: Path) -> None:
    """Before anything else is imported: takes what is in `folder` from now on, if it is of the sources under `root`."""
    global said
    if problem := why_interpreted(folder, root):
        said = f"interpreted: {problem}"
        return
    finder = CompiledFinder(folder)
    sys.meta_path.insert(0, finder)
    said = f"compiled: {len(finder)} modules"


def digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def why_interpreted(folder: Path, root: Path) -> str:
    """Why the sources have to be taken, and the remedy; empty if they need not."""
    if os.environ.get(SWITCH, "").lower() in ("false", "0"):
        return f"{SWITCH} says so"
    try:
        made = json.loads((folder / MADE).read_bytes())
        if made["suffix"] != SUFFIX:
            return f"what is compiled is for another Python ({made['suffix']}, not {SUFFIX})"
        changed = [name for name, hashed in made["sources"].items() if digest(root / name) != hashed]
    except FileNotFoundError:
        return "nothing is compiled, or a source of it is gone: make compiled"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MADE} cannot be read: make compiled"
    return f"{len(changed)} of its sources changed since, {changed[0]} first: make compiled" if changed else ""
