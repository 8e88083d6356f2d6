"""What a backup says of itself: `manifest.json`, and `SHA256SUMS`, which `sha256sum -c` reads too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from strongroom.backup.failures import Refused

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
FORMAT = 1
# What a restored log cannot go on without, and no backup holds: both are keys that nothing wraps.
KEEP_ALSO = ("keys/audit-provider", "keys/log-signing")
# No path that a backup names leads out of the log's own folders.
_PATH = re.compile(r"audit/(?:format|(?:journal|tlog|keys)(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+)")
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)\n")
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`size` and `root` are the checkpoint's, `total_bytes` and `files` those of what SHA256SUMS lists."""

    format: int
    origin: str
    made: str  # UTC
    size: int
    root: str
    files: int
    total_bytes: int
    checkpoint: str
    verifier_key: str
    sha256sums: str  # of the file of that name
    keep_also: tuple[str, ...] = KEEP_ALSO

    def text(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def is_of_a_log(path: str) -> bool:
    return _PATH.fullmatch(path) is not None


def read_manifest(backup: Path) -> Manifest:
    """Raises Refused for whatever is no backup, or one of another version."""
    path = backup / MANIFEST
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise Refused(
                f"{path} has format {found['format']}, and this version reads {FORMAT}: use the one that made it"
            )
        kinds = {field.name: str(field.type) for field in fields(Manifest)}
        values = {name: found[name] for name in kinds if name != "keep_also"}
        if not all(type(value).__name__ == kinds[name] for name, value in values.items()):
            raise TypeError
        return Manifest(**values)
    except FileNotFoundError:
        raise Refused(f"{backup} is not a backup: it has no {MANIFEST}; `strongroom audit backup` makes one") from None
    except PermissionError:
        raise Refused(f"{path} may not be read: run this as the user who made the backup") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused(f"{path} is damaged: use another copy of this backup") from None


def listed(backup: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Path and SHA-256 of each file, line by line, once the list itself is known to be the manifest's."""
    path = backup / SUMS
    try:
        if digest_of(path) != manifest.sha256sums:
            raise Refused(f"{path} is not the list that {MANIFEST} names: use another copy of this backup")
    except OSError as error:
        raise unreadable(path, error) from None
    with open(path, encoding="ascii") as lines:
        for line in lines:
            found = _LINE.fullmatch(line)
            if not found or not is_of_a_log(found[2]):
                raise Refused(f"{path} names what is no file of a log: use another copy of this backup")
            yield found[2], found[1]


def sum_line(path: str, digest: str) -> bytes:
    return f"{digest}  {path}\n".encode()


def digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        whole = sha256()
        for part in parts_of(file):
            whole.update(part)
        return whole.hexdigest()


def parts_of(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(_READ_BYTES):
        yield part


def unreadable(path: Path, error: OSError) -> Refused:
    if isinstance(error, FileNotFoundError):
        return Refused(f"{path} is missing: use another copy of this backup")
    if isinstance(error, PermissionError):
        return Refused(f"{path} may not be read: run this as the user who made the backup")
    return Refused(f"{path} cannot be read ({error.strerror}): use another copy of this backup")
