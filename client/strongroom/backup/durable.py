"""Files and folders that are private, and on the disk once these functions have returned."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from strongroom.backup.failures import Refused

BLOCK_BYTES = 4096  # a file takes whole blocks of the disk


class NewFile:
    """A file that is written once, in order; its name must be free. On the disk when its context ends well."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._whole = sha256()

    def write(self, content: bytes) -> None:
        self._whole.update(content)
        view = memoryview(content)
        while view:
            view = view[os.write(self._file, view) :]

    @property
    def digest(self) -> str:
        """SHA-256 of what was written."""
        return self._whole.hexdigest()

    def finish(self) -> None:
        os.fsync(self._file)
        self.close()

    def close(self) -> None:
        """Without a word about whether it is on the disk."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()


def write_new(path: Path, content: bytes) -> None:
    with NewFile(path) as file:
        file.write(content)


def make_private(folder: Path) -> None:
    """With its parents: `mkdir` itself would make those as the umask says."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700)


def sync_folders(folder: Path) -> None:
    """The names below `folder`, and its own content; the deepest first."""
    for path, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(path))


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, flags: int, refusal: str) -> Iterator[None]:
    """Holds the file or folder against everybody else who asks in this way; a process that dies lets go."""
    import fcntl  # here, as the client is also installed where there is none

    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(refusal) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reporting_a_full_disk(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused(f"the disk of {place} is full: free some space, or choose another place") from None
        if error.errno == errno.EFBIG:
            raise Refused(
                f"{place} takes no file of this size: raise the limit (ulimit -f), or choose another"
            ) from None
        raise Refused(f"{place} cannot be written ({error.strerror}): mend that, or choose another place") from None


def require_space(place: Path, needed: int) -> None:
    free = shutil.disk_usage(place).free
    if free < needed:
        raise Refused(
            f"{place} has {free / 1e6:,.0f} MB free and {needed / 1e6:,.0f} MB are needed: free some space, or choose "
            "another place"
        )


def blocks(sizes: Iterable[int]) -> int:
    """What files of these sizes take."""
    return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes)
