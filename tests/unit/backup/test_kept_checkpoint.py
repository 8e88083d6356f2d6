"""`strongroom-verify --checkpoint`: what was kept elsewhere tells an older copy, or another's, from the log itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from strongroom.backup.restore import restore
from strongroom.verify import ALTERED, NOT_A_LOG, VERIFIES, main


@pytest.fixture
def judged(capsys: pytest.CaptureFixture[str]):
    def run(home: Path, kept: Path) -> tuple[int, str]:
        code = main([str(home), "--checkpoint", str(kept)])
        return code, capsys.readouterr().out

    return run


def test_a_log_holds_its_checkpoints_whether_as_a_note_a_manifest_or_in_a_receipt(
    log, backup, tmp_path, judged
) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (tmp_path / "note").write_text(manifest["checkpoint"])
    (tmp_path / "receipt").write_text(log.writer.records.receipt("record-1")[1])
    log.writer.publish()
    for kept in (tmp_path / "note", tmp_path / "receipt", backup / "manifest.json"):
        assert judged(log.home, kept)[0] == VERIFIES


def test_an_older_copy_verifies_by_itself_and_not_against_a_newer_checkpoint(log, backup, tmp_path, judged) -> None:
    """Fails if a checkpoint beyond the log's end is left out."""
    assert main([str(backup)]) == VERIFIES
    log.grow(3)
    size = log.writer.tree.size
    (tmp_path / "newer").write_text(log.writer.checkpoint.note)
    code, said = judged(backup, tmp_path / "newer")
    assert code == ALTERED and f"the checkpoint that you kept: it covers {size} entries, and this log holds" in said


def test_a_copy_that_went_on_by_itself_is_told_by_the_others_checkpoint(log, backup, tmp_path, judged) -> None:
    log.grow(1)
    (tmp_path / "others").write_text(log.writer.checkpoint.note)
    log.lost()
    restore(backup, log.home)
    log.open()
    log.grow(5)
    code, said = judged(log.home, tmp_path / "others")
    assert code == ALTERED and "another copy of the log went on" in said


def test_another_logs_checkpoint_and_what_is_none_are_said(log, new_log, backup, tmp_path, judged) -> None:
    (tmp_path / "stranger").write_text(new_log().writer.checkpoint.note)
    code, said = judged(backup, tmp_path / "stranger")
    assert code == ALTERED and "none of this log" in said
    (tmp_path / "letter").write_text('{"no": "checkpoint"}')
    for name, what in (("letter", "neither a checkpoint, nor"), ("nothing", "No such file")):
        code, said = judged(backup, tmp_path / name)
        assert code == NOT_A_LOG and what in said
