"""What this log, or its owner, knows to have been signed must be in the journal, or nothing more is signed."""

from __future__ import annotations

from pathlib import Path

from services.audit.log.merkle import Tree
from services.audit.log.note import Checkpoint, NoteInvalid, Verifier, open_checkpoint

MAX_NOTE_BYTES = 64 * 1024


class LogDiverged(Exception):
    """A checkpoint does not belong to this journal. Audit refuses to start: someone must look."""


def check_published(path: Path, verifier: Verifier, tree: Tree) -> None:
    """What was once signed and published must still be in the journal, unchanged."""
    if not path.exists():
        return
    try:
        stored = _read(path, verifier)
    except NoteInvalid as invalid:
        raise LogDiverged(f"{path}: {invalid}; restore the audit folder from a backup") from None
    if stored.size > tree.size:
        raise LogDiverged(f"{path} covers {stored.size} entries, the journal holds {tree.size}: entries are lost")
    if stored.root != tree.root(stored.size):
        raise LogDiverged(f"{path}: the journal's first {stored.size} entries are not those that were signed")


def check_newest(path: Path, verifier: Verifier, tree: Tree) -> None:
    """`path` holds the newest checkpoint that was kept elsewhere. A log that is behind it was restored from an older
    copy: what it signed next would contradict what its readers hold."""
    try:
        newest = _read(path, verifier)
    except NoteInvalid as invalid:
        raise LogDiverged(
            f"{path}, the newest checkpoint that was kept, is none of the log {verifier.name}: {invalid}; is it the "
            "right file, and the right audit folder?"
        ) from None
    _check_held(str(path), newest, tree)


def check_witnessed(witness: str, note: str, verifier: Verifier, tree: Tree) -> None:
    """`note` is what a witness has seen of the log. What the log did not sign proves nothing, whoever shows it."""
    try:
        newest = open_checkpoint(note, verifier)
    except NoteInvalid:
        return
    _check_held(f"the newest checkpoint that the witness {witness} has seen", newest, tree)


def _check_held(path: str, newest: Checkpoint, tree: Tree) -> None:
    if newest.size > tree.size:
        raise LogDiverged(
            f"{path} covers {newest.size} entries, and this log holds {tree.size}: it was restored from an older copy, "
            "and would sign other entries in the place of those that are missing. Restore a backup that holds at least "
            f"{newest.size} entries; if there is none, keep this folder as it is and begin a new log in an empty one"
        )
    if newest.root != tree.root(newest.size):
        raise LogDiverged(
            f"{path} covers {newest.size} entries with another root than this log's first {newest.size}, which holds "
            f"{tree.size}: two copies of this log were continued. Restore the one that the checkpoint belongs to"
        )


def no_log(audit: Path, newest: Path) -> LogDiverged:
    """An empty folder would begin a new log, and nobody would notice that the old one is not there."""
    return LogDiverged(
        f"{newest} is the newest checkpoint of a log, and there is none in {audit}: is the right disk mounted? Restore "
        "the log from a backup, or unset STRONGROOM_AUDIT_NEWEST_CHECKPOINT to begin a new one"
    )


def _read(path: Path, verifier: Verifier) -> Checkpoint:
    with open(path, "rb") as file:
        data = file.read(MAX_NOTE_BYTES)
    try:
        return open_checkpoint(data.decode(), verifier)
    except UnicodeDecodeError:
        raise NoteInvalid("not UTF-8") from None
