"""Putting a backup back: verified first, whole or not at all, and never behind what is known to have been signed."""

from __future__ import annotations

import json
import os
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strongroom.backup.failures import Refused
from strongroom.backup.manifest import read_manifest
from strongroom.backup.restore import restore
from strongroom.verify import VERIFIES, verify_home

from services.audit.known_checkpoints import LogDiverged
from services.audit.records.entries import Accept
from services.audit.records.planning import Reap
from services.audit.restored import RestoreUnfinished


def test_a_restored_log_has_the_same_root_and_goes_on(log, backup, events) -> None:
    manifest = read_manifest(backup)
    log.lost()
    restored = restore(backup, log.home)
    assert (restored.manifest.root, restored.newest, restored.missing_keys) == (manifest.root, None, ())
    report = verify_home(log.home)
    assert (report.exit_code, report.size, report.root) == (VERIFIES, manifest.size, manifest.root)
    log.open()
    assert [event["event"] for event in events()] == ["started", "started", "restored"]
    assert {**events()[-1], "time_ms": 0} == {
        "event": "restored", "size": manifest.size, "root": manifest.root, "backup_made": manifest.made, "time_ms": 0,
    }  # fmt: skip
    log.grow(10)
    log.writer.stop()
    log.open()
    assert [event["event"] for event in events()].count("restored") == 1
    kept = verify_home(log.home, kept=manifest.checkpoint)
    assert (kept.exit_code, kept.problems) == (VERIFIES, [])
    assert log.writer.records.record("record-1") is not None  # the wrapped keys open what they sealed


def test_requests_that_were_running_when_the_backup_was_made_end_after_the_restore(log, tmp_path) -> None:
    """Their gateway is another life's. Fails if a restored log has no clock of its own for boots it never saw."""
    place = {"record_id": "open", "boot": "boot-of-then"}
    fields = {"request_received": b"{}"}
    log.writer.commit([Accept(**place, sequence=0, tenant="bank", caller="desk", deadline_ms=1, fields=fields)])
    log.backup(tmp_path / "backup")
    log.lost()
    restore(tmp_path / "backup", log.home)
    log.open()
    log.writer.commit([Reap()])
    assert log.writer.records.record("open").summary.state == "OPEN"
    log.later += 11
    log.writer.commit([Reap()])
    summary = log.writer.records.record("open").summary
    assert (summary.state, summary.reason) == ("FAILED", "GATEWAY_LOST")
    log.grow(3)
    assert verify_home(log.home).exit_code == VERIFIES


def test_what_is_restored_is_private(log, backup) -> None:
    log.lost()
    restore(backup, log.home)
    assert {path.stat().st_mode & 0o077 for path in (log.home / "audit").rglob("*")} == {0}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_backup_that_was_altered_anywhere_is_refused_and_nothing_is_written(log, backup, data, files_of) -> None:
    """Fails if the files are only compared with the tree, which covers no wrapped key."""
    names = sorted(name for name in files_of(backup) if name != "manifest.json")
    name = data.draw(st.sampled_from(names))
    content = (backup / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "grow", "remove"]))
    empty = log.home.with_name("elsewhere")
    empty.mkdir(exist_ok=True)
    try:
        if kind == "remove":
            (backup / name).unlink()
        elif kind == "flip":
            (backup / name).write_bytes(content[:at] + bytes((content[at] ^ 4,)) + content[at + 1 :])
        else:
            (backup / name).write_bytes(content[:at] if kind == "cut" else content + b"\0")
        with pytest.raises(Refused, match="another copy of"):
            restore(backup, empty)
        assert files_of(empty) == {}
    finally:
        (backup / name).write_bytes(content)


def test_hashes_that_were_made_to_fit_do_not_help(log, backup, files_of) -> None:
    """Fails if the backup's own list is taken for a proof."""
    segment = sorted((backup / "audit" / "journal").iterdir())[1]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    old = sha256(segment.read_bytes()).hexdigest()
    segment.write_bytes(content)
    sums = (backup / "SHA256SUMS").read_text().replace(old, sha256(content).hexdigest())
    (backup / "SHA256SUMS").write_text(sums)
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["sha256sums"] = sha256(sums.encode()).hexdigest()
    (backup / "manifest.json").write_text(json.dumps(manifest))
    log.lost()
    with pytest.raises(Refused, match="does not verify"):
        restore(backup, log.home)
    assert files_of(log.home).keys() == {"keys/audit-provider", "keys/log-signing", "keys/ticket"}


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("format", 2, "format 2"),
        ("size", "41", "damaged"),
        ("size", 41, "not of the checkpoint"),
        ("root", "00" * 32, "not of the checkpoint"),
        ("origin", "dev.strongroom/other", "not of the checkpoint"),
        ("files", 3, "not whole"),
        ("sha256sums", "00" * 32, "is not the list"),
        ("verifier_key", "dev.strongroom/x+00000000+AAAA", "use another copy"),
    ],
)
def test_a_manifest_that_was_altered_is_refused(log, backup, member, value, said, files_of) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {member: value}))
    log.lost()
    with pytest.raises(Refused, match=said):
        restore(backup, log.home)
    assert not files_of(log.home / "audit")


def test_a_list_that_leads_out_of_the_log_is_refused(log, backup, tmp_path) -> None:
    for name in ("audit/keys/../../../escape", "keys/log-signing", "/escape", "audit/journal"):
        sums = f"{'0' * 64}  {name}\n".encode()
        (backup / "SHA256SUMS").write_bytes(sums)
        path = backup / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256sums": sha256(sums).hexdigest()}))
        with pytest.raises(Refused, match="no file of a log"):
            restore(backup, tmp_path)


def test_the_log_of_another_key_is_refused(new_log, backup, tmp_path, empty_home) -> None:
    with pytest.raises(Refused, match="not the key that was given"):
        restore(backup, empty_home, key=new_log().writer.verifier_key)
    with pytest.raises(Refused, match="--key: a verifier key is"):
        restore(backup, empty_home, key="key")


# --- the place --------------------------------------------------------------------------------------------------------


def test_a_log_is_never_gone_over(log, backup, files_of) -> None:
    log.close()
    before = files_of(log.home)
    with pytest.raises(Refused, match="is not empty"):
        restore(backup, log.home)
    assert files_of(log.home) == before


def test_a_running_audit_is_never_gone_over(log, backup) -> None:
    """Fails if the journal's lock is not asked for."""
    with pytest.raises(Refused, match="stop it first"):
        restore(backup, log.home)


def test_while_a_restore_runs_neither_audit_nor_another_restore_starts(log, backup) -> None:
    """Fails if `_unfinished` lets go of the lock, or makes its sign later, than its first file."""
    log.lost()
    seen = []

    def look(what: str, done: int, total: int) -> None:
        if what == "writing" and not seen:
            for start in (log.open, lambda: restore(backup, log.home)):
                with pytest.raises((RestoreUnfinished, Refused)) as refused:
                    start()
                seen.append(str(refused.value))

    restore(backup, log.home, progress=look)
    assert "is being restored" in seen[0] and "stop it first" in seen[1]
    log.open()


def test_what_audit_leaves_when_it_refuses_an_empty_folder_is_no_log(log, backup, tmp_path) -> None:
    (tmp_path / "newest").write_text(read_manifest(backup).checkpoint)
    log.lost()
    with pytest.raises(LogDiverged, match="is the right disk mounted"):
        log.open(tmp_path / "newest")
    restore(backup, log.home)
    log.open(tmp_path / "newest")


def test_places_that_audit_could_not_use_are_refused(log, backup, tmp_path, empty_home) -> None:
    with pytest.raises(Refused, match="does not exist"):
        restore(backup, tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="is no folder"):
        restore(backup, tmp_path / "file")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(Refused, match=r"mode 0777\): chmod 700"):
        restore(backup, shared)
    with pytest.raises(Refused, match=r"it has no manifest\.json"):
        restore(shared, empty_home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to somebody else")
def test_somebody_elses_folder_is_refused_with_his_name(backup, tmp_path, empty_home) -> None:
    """As root every folder can be written, and audit, which is not root, could not read it afterwards."""
    empty = empty_home
    os.chown(empty, 4321, 4321)
    with pytest.raises(Refused, match="is user 4321's and this runs as root: run it as user 4321"):
        restore(backup, empty)


def test_keys_that_are_missing_are_named(log, backup) -> None:
    log.lost()
    (log.home / "keys" / "audit-provider").unlink()
    assert restore(backup, log.home).missing_keys == ("keys/audit-provider",)
