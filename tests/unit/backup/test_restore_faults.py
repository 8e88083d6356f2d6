"""kill -9 at every step of a restore, full disks, and somebody else's files, with real processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pytest
from strongroom.backup.failures import Refused
from strongroom.backup.manifest import read_manifest
from strongroom.backup.restore import restore
from strongroom.verify import verify_home

from services.audit.restored import RestoreUnfinished

IMPORTS, WORK = "from strongroom.backup import restore", "restore.restore(first, second)"


@pytest.fixture
def restoring(doomed):
    return partial(doomed, IMPORTS, WORK)


@pytest.fixture
def small(log, tmp_path) -> Path:
    log.grow(2)
    log.backup(tmp_path / "small")
    log.lost()
    return tmp_path / "small"


def test_kill_9_at_any_step_of_a_restore_leaves_no_log_that_starts_or_the_whole_one(
    log, small, files_of, events, restoring
) -> None:
    """Every call that changes the disk is one step, and each run begins on what the killed one before left. Fails if
    anything but the last rename makes the folder one that audit starts on."""
    step, refused = 0, 0
    while True:
        step += 1
        ended = restoring(small, log.home, step)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        audit = log.home / "audit"
        if (audit / "keys").exists():
            break
        if (audit / "keys.restoring").exists():
            refused += 1
            with pytest.raises(RestoreUnfinished):
                log.open()
        else:  # killed before the first sign: nothing is there
            assert not audit.exists() or files_of(audit) == {}
    assert step > 25 and refused > 20
    assert files_of(log.home / "audit" / "journal") == files_of(small / "audit" / "journal")
    assert verify_home(log.home).root == read_manifest(small).root
    log.open()
    assert events()[-1]["event"] == "restored"


def test_a_full_disk_leaves_an_empty_folder_and_says_what_to_do(log, small, files_of, restoring) -> None:
    for limit in (10, 200, 3000):
        ended = restoring(small, log.home, limit=limit)
        assert ended.returncode == 1 and "raise the limit" in ended.stderr, ended.stderr
        assert files_of(log.home / "audit") == {} and not (log.home / "audit" / "keys.restoring").exists()
    assert restoring(small, log.home).returncode == 0
    log.open()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root mounts a small disk")
def test_a_disk_that_is_too_small_is_found_before_the_first_byte(small, tmp_path, empty_home) -> None:
    disk = empty_home
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(Refused, match=r"0 MB free and [0-9]+ MB are needed"):
            restore(small, disk)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root may read everything, so it takes root to be somebody else")
def test_a_backup_that_may_not_be_read_is_named(small, restoring) -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        backup, home = Path(place, "backup"), Path(place, "home")
        shutil.copytree(small, backup)
        backup.chmod(0o755)
        home.mkdir()
        os.chown(home, 4321, 4321)
        ended = restoring(backup, home, user=4321)
        assert ended.returncode == 1 and "manifest.json may not be read" in ended.stderr, ended.stderr
        assert list(home.iterdir()) == []


def test_the_lock_is_the_one_that_audit_takes(log) -> None:
    with open(log.home / "audit" / "journal" / "lock", "rb") as lock, pytest.raises(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
