"""Which adapters a worker serves, on disk: what its next process loads again, however this one ends."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.inference.engine.adapters import MAX_ADAPTERS

FORMAT = 1
_MAX_BYTES = 1 << 20


class ListDamaged(Exception):
    """The file is none of ours, or was altered: written as a whole and renamed, it cannot be half a one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An adapter that was loaded: exactly which, and into which model. Leaving: it may be recorded as unloaded."""

    name: str
    digest: str  # SHA-256 in hex
    model: str
    leaving: bool = False


class AdapterList:
    """One seat's file. What is staged counts once it is committed; before that the old list stands."""

    def __init__(self, home: Path, seat: str) -> None:
        self.path = home / "inference" / f"adapters-{seat}.json"
        self._staged = self.path.with_suffix(".new")

    def read(self) -> tuple[Listed, ...]:
        """Raises ListDamaged."""
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.read(_MAX_BYTES))
            if found["format"] != FORMAT:
                raise ListDamaged
            listed = tuple(Listed(**one) for one in found["adapters"])
            for one in listed:
                bytes.fromhex(one.digest)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ListDamaged from None
        return listed[:MAX_ADAPTERS]

    def stage(self, listed: Sequence[Listed]) -> None:
        """Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._staged.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "adapters": [_written(one) for one in listed]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """Durable when it returns. Raises OSError."""
        self._staged.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _written(one: Listed) -> dict[str, object]:
    """A mark that is not set is left out: versions that know none take a list with it for damaged."""
    return {field: value for field, value in asdict(one).items() if value is not False}
