"""What `strongroom audit restore` leaves beside a log: that it is unfinished, or that it is done."""

from __future__ import annotations

import json
from pathlib import Path

from services.audit.journal.segment import fsync_directory

UNFINISHED, MARK = "keys.restoring", "restored.json"
MAX_MARK_BYTES = 16 * 1024


class RestoreUnfinished(Exception):
    """A restore runs here, or was killed. Audit refuses to start: there is no log yet."""


def check_finished(audit: Path) -> None:
    if (audit / UNFINISHED).exists():
        raise RestoreUnfinished(
            f"{audit} is being restored, or a restore was killed: wait until it ends, or run "
            "`strongroom audit restore` again, which clears what the last one left"
        )


def restored_from(audit: Path) -> dict[str, object] | None:
    """Which backup the log comes from, for a CONTROL entry; None if it was not restored since the last start."""
    try:
        with open(audit / MARK, "rb") as file:
            mark = json.loads(file.read(MAX_MARK_BYTES))
        return {"size": int(mark["size"]), "root": str(mark["root"]), "backup_made": str(mark["made"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return {}  # that it was restored is known all the same


def note_recorded(audit: Path) -> None:
    """The entry is durable. A crash before this line has it written once more, which harms nobody."""
    (audit / MARK).unlink(missing_ok=True)
    fsync_directory(audit)
