"""Compiles the modules that pyproject.toml names, with mypyc and the machine's C compiler, into services/_compiled.

Without a C compiler or Python's headers it says so and makes none: the services then run interpreted
(chassis/compiled.py).
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from pathlib import Path

from chassis.compiled import MADE, SUFFIX, digest
from services import COMPILED, ROOT

OPTIMIZATION = "1"  # of the C compiler: its further levels take twice as long and gain less than runs differ


def main() -> int:
    if missing := missing_tools():
        print(f"not compiled: {missing}. The services run interpreted, guard at nearly twice the CPU", file=sys.stderr)
        return 0
    groups, began = modules(), time.monotonic()
    count = sum(map(len, groups.values()))
    print(f"compiling {count} modules: a minute or two", file=sys.stderr, flush=True)
    shutil.rmtree(COMPILED, ignore_errors=True)
    sources = {path: digest(ROOT / path) for paths in groups.values() for path in sorted(paths)}
    with tempfile.TemporaryDirectory() as scratch:
        keep(build(groups, Path(scratch)), sources)
    print(f"compiled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def missing_tools() -> str:
    """What compiling needs and this machine lacks; empty if nothing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are missing (Debian: python3-dev)"
    return ""


def modules() -> dict[str, list[str]]:
    """By the library that they share: the sources' paths from the root, as pyproject.toml's patterns find them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["strongroom"]["compiled"]
    left_out = {path for pattern in told["interpreted"] for path in ROOT.glob(pattern)}
    return {
        name: [
            str(path.relative_to(ROOT))
            for pattern in patterns
            for path in sorted(ROOT.glob(pattern))
            if path not in left_out and not path.name.startswith("__") and not has_coroutines(path)
        ]
        for name, patterns in told["groups"].items()
    }


def has_coroutines(path: Path) -> bool:
    """They stay interpreted: mypyc 2.4 loses a cancellation on its way through a `finally` that awaits."""
    return any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text())))


def build(groups: dict[str, list[str]], scratch: Path) -> Path:
    """In a process of its own: setuptools and mypyc read the command line, and end the process where they fail."""
    command = [sys.executable, "-m", "deploy.compiling_child", json.dumps(groups), str(scratch)]
    log = scratch / "log"
    with log.open("w") as told:
        done = subprocess.run(command, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT, env=_environment())
    if done.returncode:
        lines = [line for line in log.read_text().splitlines() if "error" in line] or log.read_text().splitlines()
        raise SystemExit("\n".join(["compiling failed:", *lines[-20:]]))
    return scratch / "built"


def _environment() -> dict[str, str]:
    return {**os.environ, "CFLAGS": "-w", "PYTHONPATH": str(ROOT)}


def keep(built: Path, sources: dict[str, str]) -> None:
    """All in one folder, each file under its module's full name; what says of what they were made comes last."""
    COMPILED.mkdir(parents=True, exist_ok=True)
    for path in built.rglob(f"*{SUFFIX}"):
        shutil.copy(path, COMPILED / ".".join(path.relative_to(built).parts))
    (COMPILED / MADE).write_text(json.dumps({"suffix": SUFFIX, "sources": sources}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
