"""What the entry of a start says: how the log was found, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence

from services.audit.journal.journal import Cut, Journal
from services.audit.opening import CLOCK_BEHIND_SECONDS
from services.audit.records.planning import STARTED, Clock, Control
from services.audit.records.recorder import Recorder


def started(
    recorder: Recorder,
    journal: Journal,
    clock: Clock,
    clean: bool,
    cut: Cut | None,
    repaired: Sequence[str],
    behind: float,
) -> Control:
    """`clean`: the stop before it was. `repaired`: tiles. `behind`: the clock, in seconds."""
    detail: dict[str, object] = {"entries": recorder.scribe.next_leaf, "open_records": len(recorder.open)}
    if not clean:
        # Whole, and so kept; but the stop may have come before anybody was told of them.
        first, entries = journal.last_group
        detail["perhaps_unacknowledged"] = {"first_frame": first, "entries": entries}
    if kept := clock.kept():
        detail["clock"] = kept
    if cut:
        detail["cut"] = {"segment": cut.segment, "offset": cut.offset, "reason": cut.reason}
    if repaired:
        detail["repaired_tiles"] = list(repaired)
    if behind > CLOCK_BEHIND_SECONDS:
        detail["clock_behind_seconds"] = int(behind)
    return Control(STARTED, detail)
