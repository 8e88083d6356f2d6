"""What a writer is given: where its log lives, within which limits, who is told, and where tests have it crash."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.audit.journal.frame import Entry
from services.audit.journal.journal import JournalLimits
from services.audit.journal.room import free_bytes
from services.audit.opening import CLOCK_BEHIND_SECONDS
from services.audit.records.entries import Outcome
from services.audit.records.planning import RecordLimits


@dataclass(frozen=True)
class Folders:
    """Where a log lives: `audit` in the home folder, `keys` wherever STRONGROOM_KEYS says."""

    audit: Path
    keys: Path

    @property
    def journal(self) -> Path:
        return self.audit / "journal"

    @property
    def tlog(self) -> Path:
        return self.audit / "tlog"

    @property
    def spare(self) -> Path:
        return self.audit / "reserve"

    @property
    def index(self) -> Path:
        return self.audit / "index"

    @property
    def wrapped_keys(self) -> Path:
        return self.audit / "keys"


@dataclass(frozen=True)
class FaultPoints:
    """Called as the commit reaches each step; the fault tests crash there."""

    appending: Callable[[], None] = lambda: None
    synced: Callable[[], None] = lambda: None
    tiles_written: Callable[[], None] = lambda: None
    sync: Callable[[int], None] = os.fdatasync
    growing: Callable[[int], None] = lambda size: None  # the journal, by so many bytes of the disk
    free: Callable[[Path], int] = free_bytes  # of the journal's disk
    writing: Callable[[], None] = lambda: None  # keys, tiles or checkpoint


@dataclass(frozen=True)
class Observer:
    """Told, by whoever commits, of every group with its seconds until durable, and of every group's answers."""

    group_committed: Callable[[Sequence[Entry], float], None] = lambda entries, seconds: None
    answered: Callable[[Sequence[Outcome | Exception]], None] = lambda answers: None


@dataclass(frozen=True, kw_only=True)
class WriterLimits:
    journal: JournalLimits = field(default_factory=JournalLimits)
    records: RecordLimits = field(default_factory=RecordLimits)
    spare_bytes: int = 0  # set aside for keys, tiles and checkpoint on a full disk
    clock_behind_seconds: float = CLOCK_BEHIND_SECONDS  # the newest entry
