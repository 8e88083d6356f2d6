"""A log that is behind what is known to have been signed, or beside it, is neither restored nor continued."""

from __future__ import annotations

import pytest
from strongroom.backup.failures import Refused
from strongroom.backup.manifest import read_manifest
from strongroom.backup.restore import restore
from strongroom.verify import verify_home

from services.audit.known_checkpoints import LogDiverged


def test_an_older_backup_is_refused_where_a_newer_checkpoint_is_known(log, backup, tmp_path, files_of) -> None:
    """Fails if the newest checkpoint is only compared when its size is that of the backup."""
    log.grow(5)
    newest, size = log.writer.checkpoint.note, log.writer.tree.size
    log.lost()
    with pytest.raises(Refused, match=f"covers {size} entries, and this backup holds {read_manifest(backup).size}"):
        restore(backup, log.home, newest=newest)
    assert not files_of(log.home / "audit")
    (tmp_path / "newest").write_text(newest)
    restore(backup, log.home)
    with pytest.raises(LogDiverged, match=f"covers {size} entries, and this log holds {read_manifest(backup).size}"):
        log.open(tmp_path / "newest")
    assert verify_home(log.home).size == read_manifest(backup).size  # and it has signed nothing


def test_a_log_that_holds_the_newest_checkpoint_starts_and_goes_past_it(log, backup, tmp_path) -> None:
    (tmp_path / "newest").write_text(read_manifest(backup).checkpoint)
    log.lost()
    assert restore(backup, log.home, newest=(tmp_path / "newest").read_text()).newest == read_manifest(backup).size
    for _ in range(3):
        log.open(tmp_path / "newest")
        log.grow(3)


def test_two_copies_that_both_went_on_are_a_fork(log, backup, tmp_path, files_of) -> None:
    """Same size, another root. Fails if only sizes are compared."""
    log.lost()
    restore(backup, log.home)
    log.open()
    log.grow(5)
    newest, longer = log.writer.checkpoint.note, tmp_path / "longer"
    (tmp_path / "newest").write_text(newest)
    log.lost()
    restore(backup, log.home)
    log.open()
    log.grow(9)
    log.backup(longer)
    log.close()
    with pytest.raises(LogDiverged, match="two copies of this log were continued"):
        log.open(tmp_path / "newest")
    log.lost()
    with pytest.raises(Refused, match="another copy of the log went on"):
        restore(longer, log.home, newest=newest)
    assert not files_of(log.home / "audit")


def test_a_checkpoint_of_another_log_is_refused(log, new_log, backup, tmp_path) -> None:
    note = new_log().writer.checkpoint.note
    (tmp_path / "newest").write_text(note)
    log.lost()
    with pytest.raises(Refused, match="none of the log"):
        restore(backup, log.home, newest=note)
    restore(backup, log.home)
    with pytest.raises(LogDiverged, match="none of the log"):
        log.open(tmp_path / "newest")
