"""Puts a backup where no log is and no audit runs: verified before the first byte, whole or not at all afterwards."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from strongroom.backup.durable import (
    NewFile,
    blocks,
    locked,
    make_private,
    reporting_a_full_disk,
    require_space,
    sync_folder,
    sync_folders,
    write_new,
)
from strongroom.backup.failures import Refused
from strongroom.backup.manifest import KEEP_ALSO, Manifest, listed, parts_of, read_manifest, unreadable
from strongroom.verify import KEPT, Malformed, NotALog, Report, open_checkpoint, parse_vkey, verify_home

Progress = Callable[[str, int, int], None]  # what is done, bytes so far, and in all

# While it is there the restore is unfinished, and audit does not start. It becomes `keys` in the last step, by which
# the log exists.
UNFINISHED = "keys.restoring"
MARK = "restored.json"  # audit reads it at its next start, says so in the log, and removes it
LOCK = "journal/lock"
SPARE_BYTES = 32 * 1024 * 1024  # so that audit can start on what was restored: it preallocates


@dataclass(frozen=True)
class Restored:
    """What was put where."""

    audit: Path
    manifest: Manifest
    newest: int | None  # entries of the newest checkpoint that was given
    missing_keys: tuple[str, ...]  # under the home, which audit will want


def restore(
    backup: Path,
    home: Path,
    *,
    newest: str | None = None,
    key: str | None = None,
    keys: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Restored:
    """Raises Refused: then nothing is there that was not there before."""
    audit = home / "audit"
    _check_place(home, audit)
    manifest = read_manifest(backup)
    _check_key(key)
    known = _check_newest(newest, key or manifest.verifier_key, manifest)
    require_space(home, _space(backup, manifest))
    _check_files(backup, manifest, progress)
    _judged(backup, manifest, key, newest)
    with reporting_a_full_disk(audit), _unfinished(audit):
        _copy(backup, manifest, audit, progress)
        sync_folders(audit)
        _judged(home, manifest, key, newest)
        write_new(audit / MARK, _mark(manifest))
        os.rename(audit / UNFINISHED, audit / "keys")
        sync_folder(audit)
    folder = keys or home / "keys"
    missing = tuple(name for name in KEEP_ALSO if not (folder / Path(name).name).exists())
    return Restored(audit, manifest, known, missing)


# --- the place --------------------------------------------------------------------------------------------------------


def _check_place(home: Path, audit: Path) -> None:
    for folder in (home, audit):
        if folder.exists():
            _check_owner(folder)
    if not home.exists():
        raise Refused(f"{home} does not exist: make it, as the user whom audit runs as, with mode 0700")
    lock = audit / LOCK
    if lock.exists():
        with locked(lock, os.O_RDWR, f"an audit service runs on {audit}: stop it first (`strongroom down`)"):
            pass
    if not (audit / UNFINISHED).exists() and (found := _first_file(audit)):
        raise Refused(f"{audit} is not empty (it holds {found}): move it away first, a restore never goes over a log")


def _check_owner(folder: Path) -> None:
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder: name the home of the stack with --home")
    found = folder.stat()
    if found.st_uid != os.geteuid():
        owner, me = _user(found.st_uid), _user(os.geteuid())
        raise Refused(f"{folder} is {owner}'s and this runs as {me}: run it as {owner}, whom audit runs as too")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(f"{folder} may be written by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"{folder} cannot be written: is it on a read-only disk?")


def _user(uid: int) -> str:
    import pwd  # here, as the client is also installed where there is none

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _first_file(folder: Path) -> str:
    """Empty folders and an unused lock are what audit leaves when it refuses to start."""
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    return next((name for name in found if name != LOCK), "")


@contextmanager
def _unfinished(audit: Path) -> Iterator[None]:
    """The empty folders, held against audit and against another restore; gone again if the restore fails."""
    make_private(audit / "journal")
    audit.chmod(0o700)
    busy = f"an audit service or another restore runs on {audit}: stop it first"
    with locked(audit / LOCK, os.O_RDWR | os.O_CREAT, busy):
        if not (audit / UNFINISHED).exists() and (found := _first_file(audit)):
            raise Refused(f"{audit} is not empty (it holds {found}): move it away first")
        (audit / UNFINISHED).mkdir(mode=0o700, exist_ok=True)
        sync_folder(audit)
        _remove(audit)
        try:
            yield
        except BaseException:
            _remove(audit)
            shutil.rmtree(audit / UNFINISHED, ignore_errors=True)
            raise


def _remove(audit: Path) -> None:
    """All that a restore may have left, save the lock and the sign that it is unfinished."""
    for path in [*(audit / "journal").glob("*.journal"), audit / "format", audit / MARK]:
        path.unlink(missing_ok=True)
    shutil.rmtree(audit / "tlog", ignore_errors=True)
    for path in (audit / UNFINISHED).glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# --- the backup -------------------------------------------------------------------------------------------------------


def _check_key(key: str | None) -> None:
    try:
        if key is not None:
            parse_vkey(key)
    except Malformed as malformed:
        raise Refused(f"--key: {malformed}; `strongroom audit key` prints it") from None


def _check_newest(note: str | None, vkey: str, manifest: Manifest) -> int | None:
    """Said first, and with both sizes: an older backup may be whole and sound, and must not be continued."""
    if note is None:
        return None
    try:
        newest = open_checkpoint(note, parse_vkey(vkey))
    except Malformed as malformed:
        raise Refused(
            f"the newest checkpoint that you gave is none of the log {manifest.origin}: {malformed}; is it the right "
            "file, and the right backup?"
        ) from None
    if newest.size > manifest.size:
        raise Refused(
            f"the newest checkpoint that you gave covers {newest.size} entries, and this backup holds {manifest.size}: "
            "a log that went on from here would contradict what its readers hold. Restore a backup of at least "
            f"{newest.size} entries; if there is none, keep this one as it is and begin a new log in an empty folder"
        )
    return newest.size


def _space(backup: Path, manifest: Manifest) -> int:
    try:
        return SPARE_BYTES + blocks((backup / path).stat().st_size for path, _ in listed(backup, manifest))
    except OSError as error:
        raise unreadable(Path(error.filename or backup), error) from None


def _check_files(backup: Path, manifest: Manifest, progress: Progress) -> None:
    """Every file that the list names has its hash: keys too, which no tree covers."""
    files = done = 0
    for path, digest in listed(backup, manifest):
        done += sum(map(len, _parts(backup, path, digest)))
        files += 1
        progress("checking", done, manifest.total_bytes)
    if (files, done) != (manifest.files, manifest.total_bytes):
        raise Refused(f"{backup} is not whole: it lists {files} of {manifest.files} files; use another copy of it")


def _parts(backup: Path, path: str, digest: str) -> Iterator[bytes]:
    """Raises Refused behind the last part of a file that is not what the list says."""
    whole = sha256()
    try:
        with open(backup / path, "rb") as file:
            for part in parts_of(file):
                whole.update(part)
                yield part
    except OSError as error:
        raise unreadable(backup / path, error) from None
    if whole.hexdigest() != digest:
        raise Refused(f"{backup / path} was altered or cut off since the backup: use another copy of it")


def _judged(folder: Path, manifest: Manifest, key: str | None, newest: str | None) -> Report:
    """The same judge as `strongroom-verify`, on the backup and on what was put back."""
    try:
        report = verify_home(folder, key or manifest.verifier_key, newest)
    except NotALog as reason:
        raise Refused(f"{reason}; use another copy of this backup") from None
    if report.problems:
        problem = report.problems[0]
        if problem.file == KEPT:
            raise Refused(f"the newest checkpoint that you gave does not belong to this backup: {problem.what}")
        raise Refused(f"{folder} does not verify: {problem}; `strongroom-verify {folder}` says all")
    if (report.origin, report.size, report.root) != (manifest.origin, manifest.size, manifest.root):
        raise Refused(f"{folder} is not of the checkpoint that its manifest names: use another copy of this backup")
    return report


def _copy(backup: Path, manifest: Manifest, audit: Path, progress: Progress) -> None:
    done = 0
    for path, digest in listed(backup, manifest):
        inside = path.removeprefix("audit/")
        place = audit / (UNFINISHED + inside.removeprefix("keys") if inside.startswith("keys/") else inside)
        make_private(place.parent)
        with NewFile(place) as file:
            for part in _parts(backup, path, digest):
                file.write(part)
                done += len(part)
        progress("writing", done, manifest.total_bytes)


def _mark(manifest: Manifest) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    mark = {"size": manifest.size, "root": manifest.root, "made": manifest.made, "restored": now}
    return json.dumps(mark).encode() + b"\n"
