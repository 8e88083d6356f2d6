"""Files of wrapped keys: each appears whole and durable, and only its owner may read it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.audit.journal.segment import fsync_directory


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def read_object(path: Path) -> dict[str, Any]:
    stored = json.loads(path.read_bytes())
    assert isinstance(stored, dict)
    return stored


def write_object(path: Path, value: Mapping[str, object]) -> None:
    write_whole(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """In place of what is there, or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, path)
    fsync_directory(path.parent)


def append_rows(path: Path, rows: list[str]) -> None:
    """All of them durable, or nothing there: half a row would spoil the next one."""
    created, left = not path.exists(), "".join(rows).encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    before = os.fstat(file).st_size
    try:
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise
    finally:
        os.close(file)
    if created:
        fsync_directory(path.parent)


def row(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True) + "\n"


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """None where there is no file. A torn last row was never durable, so nothing depends on it: it is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        with open(path, "r+b") as file:
            file.truncate(len(whole))
            os.fsync(file.fileno())
    return [json.loads(line) for line in whole.splitlines()]


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
