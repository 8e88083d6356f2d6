"""Before a log is written to: another format and a clock that is far behind are refused, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.audit.opening import (
    CLOCK_BEHIND_SECONDS,
    FORMAT,
    MARKER,
    ClockBehind,
    FormatUnknown,
    check_clock,
    check_format,
    mark_format,
    tolerance,
)

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000


def segment(folder: Path, version: int) -> None:
    (folder / "journal").mkdir()
    (folder / "journal" / f"{0:020d}.journal").write_bytes(b"SRJOURNL" + bytes((version,)) + b"the rest")


def test_an_empty_folder_and_a_marked_one_are_taken(tmp_path: Path) -> None:
    check_format(tmp_path)
    mark_format(tmp_path)
    assert (tmp_path / MARKER).read_text() == f"strongroom-audit {FORMAT}\n"
    check_format(tmp_path)


def test_a_log_from_before_the_marker_is_known_by_its_segments(tmp_path: Path) -> None:
    segment(tmp_path, 1)
    check_format(tmp_path)


@pytest.mark.parametrize("found", ["0", "2", "17"])
def test_another_format_is_named_with_the_remedy(found: str, tmp_path: Path) -> None:
    """Fails if `check_format` takes any number: a later start would read, and cut, what it does not understand."""
    (tmp_path / MARKER).write_text(f"strongroom-audit {found}\n")
    with pytest.raises(FormatUnknown, match=f"has format {found}, and this version reads and writes format 1: run the"):
        check_format(tmp_path)


def test_a_segment_of_another_version_without_a_marker_is_refused(tmp_path: Path) -> None:
    segment(tmp_path, 0)
    with pytest.raises(FormatUnknown, match="has format 0"):
        check_format(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"strongroom-audit", b"strongroom-audit one\n", b"other 1\n"])
def test_a_marker_that_says_nothing_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MARKER).write_bytes(content)
    with pytest.raises(FormatUnknown, match="restore it from your backup"):
        check_format(tmp_path)


@pytest.mark.parametrize("ahead_ms", [-HOUR_MS, 0, HOUR_MS, 1000 * HOUR_MS])
def test_a_clock_at_or_after_the_newest_entry_is_taken(ahead_ms: int) -> None:
    assert check_clock(NOW_MS + max(ahead_ms, 0), NOW_MS, CLOCK_BEHIND_SECONDS) == 0.0
    assert check_clock(NOW_MS, None, CLOCK_BEHIND_SECONDS) == 0.0


def test_a_clock_is_behind_by_an_hour_at_most() -> None:
    assert check_clock(NOW_MS - HOUR_MS, NOW_MS, CLOCK_BEHIND_SECONDS) == CLOCK_BEHIND_SECONDS
    with pytest.raises(ClockBehind, match=r"clock says 2026-09-21.*newest entry is of 2026-09-21.*set the machine's"):
        check_clock(NOW_MS - HOUR_MS - 1000, NOW_MS, CLOCK_BEHIND_SECONDS)


def test_a_person_may_say_that_the_entry_was_wrong() -> None:
    assert check_clock(NOW_MS - 9000 * HOUR_MS, NOW_MS, tolerance(True)) == 9000 * 3600
