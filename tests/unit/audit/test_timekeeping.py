"""The clock as the kernel keeps it, told in the log."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.audit.records.planning import Clock
from services.audit.sequencer import Sequencer, SequencerLimits
from services.audit.timekeeping import Timex, kernel_clock
from services.audit.writer import Writer

UNSYNC, NANO = 0x0040, 0x2000


def kernel(result: int = 0, **says: int) -> Callable[[Timex], int]:
    """One that says this."""

    def ask(timex: Timex) -> int:
        assert timex.modes == 0, "nothing may be set"
        for name, value in says.items():
            setattr(timex, name, value)
        return result

    return ask


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "current_clocksource"
    path.write_text("tsc\n")
    return path


@pytest.mark.parametrize(
    ("status", "offset", "synchronised", "offset_us"),
    [(NANO, -2_500_000, True, -2500), (0, -2500, True, -2500), (UNSYNC, 0, False, 0), (UNSYNC | NANO, 0, False, 0)],
)
def test_offsets_are_microseconds_whatever_the_kernel_counts_in(source, status, offset, synchronised, offset_us):
    """Fails if STA_NANO is not looked at: an offset would be told a thousandfold."""
    told = kernel_clock(kernel(status=status, offset=offset, maxerror=16_000), source)
    assert told == {
        "source": "tsc", "synchronised": synchronised, "offset_us": offset_us, "max_error_us": 16_000
    }  # fmt: skip


def test_a_kernel_that_may_not_be_asked_tells_its_source_alone(source, tmp_path):
    assert kernel_clock(kernel(-1), source) == {"source": "tsc"}
    assert kernel_clock(kernel(-1), tmp_path / "none") == {"source": ""}


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex is Linux's")
def test_this_kernels_own_words_make_sense():
    """Fails if a field of `Timex` is in another place than in the kernel's struct."""
    told = kernel_clock()
    if "offset_us" in told:  # a sandbox may forbid to ask
        assert abs(told["offset_us"]) <= 500_000 and 0 <= told["max_error_us"] <= 60_000_000  # the kernel's own bounds


async def test_a_log_in_which_nothing_happens_says_that_it_is_kept(audit_log):
    """Fails if `_beat` is not among the sequencer's tasks."""
    kept = {"source": "tsc", "synchronised": True, "offset_us": 7, "max_error_us": 900}
    clock = Clock(audit_log.time.clock().wall, audit_log.time.clock().monotonic, lambda: kept)
    writer = Writer(audit_log.folders, clock)
    audit_log.opened.append(writer)
    assert writer.stored.leaf(0).header["clock"] == kept
    async with Sequencer.running(writer, SequencerLimits(heartbeat_seconds=0.01)), asyncio.timeout(20):
        while writer.tree.size < 3:
            await asyncio.sleep(0.01)
    header = writer.stored.leaf(1).header
    assert (header["event"], header["open_records"], header["clock"]) == ("heartbeat", 0, kept)
    assert writer.stored.leaf(writer.tree.size - 1).header["event"] == "stopped"
