"""Taking a backup: whatever the writer does meanwhile, the copy is that of its checkpoint, or there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.backup.durable import locked
from strongroom.backup.failures import Damaged, Refused
from strongroom.backup.manifest import read_manifest
from strongroom.backup.take import take_backup
from strongroom.verify import VERIFIES, verify_home

from services.audit.backup import PIECE_BYTES, LogCopy, Piece
from services.audit.backup_stream import messages


@dataclass
class Growing:
    """A copy of a log that grows between any two pieces that are read."""

    copy: LogCopy
    grow: Callable[[], None]

    def pieces(self) -> Iterator[Piece]:
        for piece in self.copy.pieces():
            yield piece
            self.grow()

    def __getattr__(self, name: str) -> object:
        return getattr(self.copy, name)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.integers(0, 200), meanwhile=st.lists(st.integers(0, 40), max_size=12), publish=st.booleans())
def test_a_copy_is_that_of_its_checkpoint_whatever_is_appended_while_it_is_read(
    new_log, before, meanwhile, publish
) -> None:
    """Segments are finished meanwhile, partial tiles go, tables of keys grow. Fails if `Journal.up_to` gives whole
    segments instead of ending behind the last frame that is covered."""
    log = new_log()
    log.grow(before)
    copy, growing = log.writer.copied(), iter(meanwhile)
    target = log.home.with_name("backup")
    manifest = take_backup(messages(Growing(copy, lambda: log.grow(next(growing, 0), publish))), target)
    log.close()
    signed = copy.signed.checkpoint
    assert (manifest.size, manifest.root) == (signed.size, signed.root.hex())
    report = verify_home(target, copy.vkey)
    assert (report.exit_code, report.size, report.root) == (VERIFIES, signed.size, signed.root.hex())
    assert (report.pending, report.not_covered) == ([], [])


def test_what_is_accepted_meanwhile_is_not_in_the_copy_and_not_held_up(log, tmp_path) -> None:
    """Fails if `copied` keeps the writer's lock while its pieces are read."""
    log.grow(20)
    reading = log.writer.copied().pieces()
    first = next(reading)
    log.grow(300)
    assert log.writer.tree.size > 600
    rest = list(reading)
    journal = sum(len(piece.content) for piece in [first, *rest] if piece.path.startswith("audit/journal"))
    assert journal < sum(path.stat().st_size for path in (log.home / "audit" / "journal").glob("*.journal"))


def test_no_key_that_opens_anything_is_in_a_backup(log, backup) -> None:
    """Fails if a file of the keys folder is copied."""
    secrets = [path.read_bytes() for path in (log.home / "keys").iterdir()]
    assert len(secrets) >= 3  # signing, provider, ticket
    for path in backup.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_every_key_that_an_entry_of_the_copy_names_is_in_it(log, backup) -> None:
    named = {log.writer.stored.clear(index).key_id for index in range(read_manifest(backup).size)}
    tables = "".join(path.read_text() for path in (backup / "audit" / "keys").rglob("*.jsonl"))
    assert len(named) > 40 and all(key in tables for key in named)


def test_a_row_that_is_just_being_written_is_left_out(log, tmp_path) -> None:
    log.grow(3)
    table = max((log.home / "audit" / "keys").rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    whole = table.read_bytes()
    table.write_bytes(whole + b'{"key_id": "torn')
    log.backup(tmp_path / "backup")
    assert (tmp_path / "backup" / table.relative_to(log.home)).read_bytes() == whole


def test_a_message_holds_no_more_than_a_piece_and_its_neighbours(log) -> None:
    """Memory is bounded by a message; fails if small files are gathered without a limit."""
    log.grow(400)
    assert max(message.ByteSize() for message in messages(log.writer.copied())) < PIECE_BYTES + 64 * 1024


def test_a_backup_is_private(backup) -> None:
    assert {path.stat().st_mode & 0o077 for path in [backup, *backup.rglob("*")]} == {0}


def test_sha256sum_itself_reads_the_list(backup) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=backup, check=False)
    assert checked.returncode == 0


def _altered(log, number: int, change) -> list[pb.BackUpResponse]:
    responses = []
    for response in messages(log.writer.copied()):
        copied = pb.BackUpResponse()
        copied.CopyFrom(response)
        responses.append(copied)
    change(responses[number])
    return responses


def _flip(response: pb.BackUpResponse) -> None:
    piece = max(response.pieces, key=lambda each: len(each.content))
    piece.content = bytes((piece.content[0] ^ 1,)) + piece.content[1:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip, "is not what the service read"),
        (lambda response: response.ClearField("end"), "ended early"),
        (lambda response: response.ClearField("start"), "ended early"),
        (lambda response: response.pieces.pop(), "ended early"),
        (lambda response: response.pieces.add(path="audit/keys/../../../escape", content=b"x"), "none of a log"),
        (lambda response: response.pieces.add(path="keys/log-signing", content=b"x"), "none of a log"),
    ],
)
def test_a_copy_that_is_not_whole_is_no_backup(log, tmp_path, change, said) -> None:
    log.grow(5)
    with pytest.raises(Damaged, match=said):
        take_backup(_altered(log, 0, change), tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_copy_whose_bytes_do_not_lead_to_the_signed_root_is_no_backup(log, tmp_path) -> None:
    """What the service hashed and what it signed are two things; fails if the copy is not verified at its end."""
    log.grow(5)
    segment = log.home / "audit" / "journal" / f"{0:020d}.journal"
    content = bytearray(segment.read_bytes())
    content[len(content) // 3] ^= 1
    segment.write_bytes(content)
    with pytest.raises(Damaged, match="does not verify"):
        log.backup(tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_backup_never_goes_over_anything(log, tmp_path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "letter").write_text("mine")
    for target, said in ((tmp_path / "backup", "exists"), (tmp_path / "no" / "backup", "make it first")):
        with pytest.raises(Refused, match=said):
            log.backup(target)
    (tmp_path / "backup" / "letter").unlink()
    log.backup(tmp_path / "backup")  # an empty folder, such as a mounted one's, is as good as none


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root mounts a disk")
def test_a_disk_is_no_place_for_a_backup_and_a_folder_on_it_is(log, tmp_path) -> None:
    """A folder cannot be renamed over a mounted one. A disk that fills up leaves nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k,mode=700", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(Refused, match="name a folder on it"):
            log.backup(disk)
        log.backup(disk / "backup")
        copy = _altered(log, 0, lambda response: response.start.ClearField("size"))
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 8192))
        with pytest.raises(Refused, match=r"MB are needed|is full"):
            take_backup(copy, disk / "second")
        assert sorted(path.name for path in disk.iterdir()) == ["backup", "filler"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_backups_to_one_place_do_not_mix(log, tmp_path) -> None:
    partial = tmp_path / ".backup.partial"
    partial.mkdir()
    with locked(partial, os.O_RDONLY | os.O_DIRECTORY, "busy"), pytest.raises(Refused, match="is being made"):
        log.backup(tmp_path / "backup")
    (partial / "left").write_text("by one that was killed")
    log.backup(tmp_path / "backup")
    assert not partial.exists() and not (tmp_path / "backup" / "left").exists()


IMPORTS = "from strongroom.audit.v1 import audit_pb2 as pb; from strongroom.backup import take"
WORK = "take.take_backup([pb.BackUpResponse.FromString(path.read_bytes()) for path in sorted(first.iterdir())], second)"


@pytest.fixture
def taking(doomed):
    return partial(doomed, IMPORTS, WORK)


@pytest.fixture
def sent(log, tmp_path) -> Path:
    """The messages of a copy, as files: for a process of its own."""
    log.grow(3)
    folder = tmp_path / "sent"
    folder.mkdir()
    for number, message in enumerate(messages(log.writer.copied())):
        (folder / f"{number:04d}").write_bytes(message.SerializeToString())
    return folder


def _response(path: Path) -> pb.BackUpResponse:
    return pb.BackUpResponse.FromString(path.read_bytes())


def test_kill_9_at_any_step_leaves_no_half_backup_and_the_next_one_is_whole(sent, tmp_path, taking) -> None:
    """Every call that changes the disk is one step. Fails if the files are written under the name of the backup."""
    target, step = tmp_path / "backup", 0
    while not target.exists():
        step += 1
        ended = taking(sent, target, step)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        if ended.returncode and target.exists():  # killed behind the rename: what has the name is whole
            break
    assert step > 20
    assert verify_home(target).exit_code == VERIFIES
    assert read_manifest(target).size == verify_home(target).size


def test_a_full_disk_leaves_no_half_backup_and_says_what_to_do(sent, tmp_path, taking) -> None:
    journal = max(len(piece.content) for path in sent.iterdir() for piece in _response(path).pieces)
    for limit in (10, 3000, journal - 1):
        ended = taking(sent, tmp_path / "backup", limit=limit)
        assert ended.returncode == 1 and "raise the limit" in ended.stderr, ended.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "sent"]
    assert taking(sent, tmp_path / "backup").returncode == 0


def test_a_copy_that_cannot_fit_is_refused_before_its_first_byte(log, tmp_path) -> None:
    def vast(response: pb.BackUpResponse) -> None:
        response.start.size = 1 << 60

    with pytest.raises(Refused, match=r"MB free and [0-9,]+ MB are needed"):
        take_backup(_altered(log, 0, vast), tmp_path / "backup")
