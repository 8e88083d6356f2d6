"""What `deploy.compiling` runs: mypyc's translation of the groups to C, and setuptools' build of it."""

from __future__ import annotations

import json
import os
import sys

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from deploy.compiling import OPTIMIZATION


def main(groups: dict[str, list[str]], scratch: str) -> None:
    sources = [path for paths in groups.values() for path in paths]
    extensions = mypycify(
        ["--config-file=pyproject.toml", f"--cache-dir={scratch}/mypy", *sources],
        opt_level=OPTIMIZATION,
        debug_level="0",
        multi_file=False,
        separate=[(paths, name) for name, paths in groups.items()],
        target_dir=f"{scratch}/c",
    )
    command = build_ext(Distribution({"name": "compiled", "ext_modules": extensions}))
    command.build_lib, command.build_temp, command.parallel = f"{scratch}/built", f"{scratch}/objects", os.cpu_count()
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
