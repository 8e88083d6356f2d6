"""Files that are whole and on the disk under their names once these functions have returned."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(path: Path, data: bytes) -> None:
    """A crash leaves the old content or the new."""
    _write(path.with_name(f".{path.name}.partial"), data, os.O_TRUNC)
    path.with_name(f".{path.name}.partial").replace(path)
    _sync_folder(path.parent)


def create_durably(path: Path, data: bytes) -> None:
    """Raises FileExistsError rather than to replace anything."""
    whole = path.with_name(f".{path.name}.partial")
    _write(whole, data, os.O_TRUNC)
    try:
        os.link(whole, path)
    finally:
        whole.unlink()
    _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        _sync_folder(folder.parent)


def _write(path: Path, data: bytes, flags: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
