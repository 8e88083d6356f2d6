"""Looked at before a log is written to: its folder's format, and the clock. Refuses, and changes nothing."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

from services.audit.journal.segment import SEGMENT_MAGIC, SEGMENT_VERSION, SUFFIX
from services.audit.publishing import write_atomically

FORMAT = 1  # of the audit folder as a whole; raise it when an older version could not read what this one writes
MARKER = "format"
_NAME = "strongroom-audit"
CLOCK_BEHIND_SECONDS = 3_600.0  # more than a clock is ever set back in good order


class FormatUnknown(Exception):
    """The folder was written by another version. Names the format and the remedy; audit refuses to start."""


class ClockBehind(Exception):
    """The clock is far before the newest entry. Says both times and the remedy; audit refuses to start."""


def check_format(folder: Path) -> None:
    """Reads only. A log that has no marker is from before there was one: then its segments tell."""
    marker = folder / MARKER
    if marker.exists():
        name, _, number = marker.read_bytes().decode("ascii", "replace").strip().partition(" ")
        if name != _NAME or not number.isdecimal():
            raise FormatUnknown(f"{marker} does not say which format this is: restore it from your backup")
        found = int(number)
    else:
        found = _oldest_segment(folder / "journal")
    if found != FORMAT:
        raise FormatUnknown(
            f"{folder} has format {found}, and this version reads and writes format {FORMAT}: run the version of "
            f"Strongroom that wrote it, or restore a backup of format {FORMAT}; nothing in it was changed"
        )


def mark_format(folder: Path) -> None:
    if not (folder / MARKER).exists():
        write_atomically(folder / MARKER, format_mark())


def format_mark() -> bytes:
    return f"{_NAME} {FORMAT}\n".encode()


def _oldest_segment(journal: Path) -> int:
    """The version in the first segment's header; what is no segment at all is for the journal to judge."""
    for path in sorted(journal.glob(f"*{SUFFIX}"))[:1]:
        with path.open("rb") as file:
            start = file.read(len(SEGMENT_MAGIC) + 1)
        if start[:-1] == SEGMENT_MAGIC:
            return start[-1]
    return SEGMENT_VERSION


def check_clock(now_ms: int, newest_ms: int | None, tolerated_seconds: float) -> float:
    """Seconds that the clock is behind the newest entry, at most what is tolerated. Entries would otherwise be dated
    before those that they follow, and the idempotency window and every deadline be wrong."""
    behind = max((newest_ms - now_ms) / 1000, 0.0) if newest_ms is not None else 0.0
    if behind > tolerated_seconds:
        raise ClockBehind(
            f"the clock says {_said(now_ms)}, and the log's newest entry is of {_said(newest_ms or 0)}: set the "
            "machine's clock. If the entry was dated by a wrong clock, start audit once with "
            "STRONGROOM_AUDIT_CLOCK_MAY_BE_BEHIND=true, which the log will tell of"
        )
    return behind


def tolerance(clock_may_be_behind: bool) -> float:
    return math.inf if clock_may_be_behind else CLOCK_BEHIND_SECONDS


def _said(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
