"""What a disk, a volume or a key file refuses, in words that say whose it is, what is wrong and what to do."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

MIB = 1024 * 1024


class FolderUnusable(Exception):
    """A service's folder takes nothing. Says what is wrong, and the remedy."""


class NoRoom(FolderUnusable):
    """It takes something once there is space again: then starting again helps."""


def explained(error: OSError, path: Path) -> str:
    """One sentence and the remedy. `path` is used where the error names none."""
    at = Path(os.fsdecode(error.filename)) if error.filename else path
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{at} may not be used by uid {os.geteuid()}: {_whose(at)}; {_give(at)}"
    if error.errno == errno.EROFS:
        return f"{at} is on a read-only file system: mount its volume without `ro`, or make it writable again"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{at}: no space is left: free some, or enlarge the volume; nothing that was durable has changed"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return f"{at} is {_kind(at)}: something else is in its place; move that away"
    return f"{at}: {os.strerror(error.errno or errno.EIO)}: check the disk, and the volume's mount"


def require_room(folder: Path, room_bytes: int) -> None:
    """Makes the folder if need be and sees that it takes so many bytes more, of which it keeps none. Or FolderUnusable.

    Tried, not asked: what statvfs says knows nothing of quotas, and access() nothing of what is mounted read-only.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, room_bytes)
            os.fsync(probe.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = -(-room_bytes // MIB)
            raise NoRoom(
                f"{folder} has no room for {needed} MiB: free some space, or enlarge the volume; nothing in it was "
                "changed"
            ) from None
        # A temporary file's own name helps nobody.
        named = folder if error.filename and Path(os.fsdecode(error.filename)).parent == folder else None
        raise FolderUnusable(
            explained(OSError(error.errno, "", str(named or error.filename or folder)), folder)
        ) from None


def refusal_of_secret(error: OSError, path: Path) -> str:
    """Why a key file cannot be read. A secret that was missing is a folder inside a container, made in its place."""
    if isinstance(error, FileNotFoundError):
        return f"{path} is missing: `strongroom up` makes it, or STRONGROOM_KEYS is wrong"
    if isinstance(error, IsADirectoryError):
        return (
            f"{path} is a folder: the secret was not there when the container was made; make it with `strongroom "
            "keys`, remove the folder that stands in its place, and make the container again"
        )
    return explained(error, path)


def _whose(path: Path) -> str:
    """Of the path, or of the nearest folder above it that may be looked at."""
    for each in (path, *path.parents):
        try:
            found = each.stat()
        except OSError:
            continue
        which = "it" if each == path else str(each)
        return f"{which} belongs to uid {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}"
    return "it cannot be looked at"


def _give(path: Path) -> str:
    return f"give it with chown -R {os.geteuid()}:{os.getegid()} {path}"


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "no folder"
