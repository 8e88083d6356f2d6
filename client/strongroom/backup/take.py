"""Takes a backup: what the service streams becomes a folder that has its name once it is whole and verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.backup.durable import (
    BLOCK_BYTES,
    NewFile,
    locked,
    make_private,
    reporting_a_full_disk,
    require_space,
    sync_folder,
    sync_folders,
    write_new,
)
from strongroom.backup.failures import Damaged, Refused
from strongroom.backup.manifest import FORMAT, MANIFEST, SUMS, Manifest, is_of_a_log, sum_line
from strongroom.verify import Malformed, unb64, verify_home

Progress = Callable[[int, int], None]  # bytes so far, and in all


def take_backup(
    responses: Iterable[pb.BackUpResponse], target: Path, progress: Progress = lambda done, total: None
) -> Manifest:
    """Raises Refused, or Damaged if what came is not whole; then nothing has the target's name."""
    with reporting_a_full_disk(target.parent), _partial(target) as folder:
        with closing(_Received(folder, progress)) as received:
            for response in responses:
                received.take(response)
            manifest = received.finish()
        _verify(folder, manifest)
        sync_folders(folder)
        os.rename(folder, target)
        sync_folder(target.parent)
    return manifest


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """An empty folder beside the target, ours alone; gone afterwards if it has not become the target."""
    check_target(target)
    folder = target.with_name(f".{target.name}.partial")
    folder.mkdir(mode=0o700, exist_ok=True)
    with locked(folder, os.O_RDONLY | os.O_DIRECTORY, f"another backup to {target} is being made: wait until it ends"):
        _clear(folder)  # of what a killed one left
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check_target(target: Path) -> None:
    """Before anything is asked of the service."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise Refused(f"{target} exists: name a folder that does not, a backup never goes over another")
    if target.is_mount():
        raise Refused(f"{target} is a disk of its own: name a folder on it")
    if not target.parent.is_dir():
        raise Refused(f"{target.parent} is no folder: make it first")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class _Received:
    """Files as they come, and the list of those that are whole."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress = folder, progress
        self._sums = NewFile(folder / SUMS)
        self._file: NewFile | None = None
        self._path = ""
        self._start: pb.BackUpStart | None = None
        self._ended = False
        self._files = self._bytes = 0

    def take(self, response: pb.BackUpResponse) -> None:
        if response.HasField("start"):
            self._start = response.start
            require_space(self._folder, self._start.size + self._start.files * BLOCK_BYTES)
        for piece in response.pieces:
            self._take(piece)
        if self._start:
            self._progress(self._bytes, self._start.size)
        if response.HasField("end"):
            self._ended = (response.end.files, response.end.size) == (self._files, self._bytes)

    def _take(self, piece: pb.BackUpPiece) -> None:
        if self._file is None:
            self._begin(piece.path)
        assert self._file
        if piece.path != self._path:
            raise Damaged(f"{self._path} was cut off by {piece.path}")
        self._file.write(piece.content)
        self._bytes += len(piece.content)
        if piece.sha256:
            self._file.finish()
            if self._file.digest != piece.sha256.hex():
                raise Damaged(f"{self._path} is not what the service read")
            self._sums.write(sum_line(self._path, self._file.digest))
            self._file = None
            self._files += 1

    def _begin(self, path: str) -> None:
        if not is_of_a_log(path):
            raise Damaged("the service named a file that is none of a log")
        place = self._folder / path
        make_private(place.parent)
        self._file, self._path = NewFile(place), path

    def close(self) -> None:
        for file in (self._sums, self._file):
            if file:
                file.close()

    def finish(self) -> Manifest:
        if not self._ended or self._start is None or self._file is not None:
            raise Damaged("the copy ended early")
        self._sums.finish()
        origin, size, root = _checkpoint(self._start.checkpoint)
        manifest = Manifest(
            format=FORMAT,
            origin=origin,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            size=size,
            root=root,
            files=self._files,
            total_bytes=self._bytes,
            checkpoint=self._start.checkpoint,
            verifier_key=self._start.verifier_key,
            sha256sums=self._sums.digest,
        )
        write_new(self._folder / MANIFEST, manifest.text())
        return manifest


def _checkpoint(note: str) -> tuple[str, int, str]:
    """As it says; whether it is signed and true is found out by the verification."""
    try:
        origin, size, root = note.split("\n")[:3]
        return origin, int(size), unb64(root, 32).hex()
    except (ValueError, Malformed):
        raise Damaged("the service sent no checkpoint") from None


def _verify(folder: Path, manifest: Manifest) -> None:
    """The same judge as `strongroom-verify`: every byte, and the root that the service signed."""
    report = verify_home(folder, manifest.verifier_key)
    if report.problems:
        raise Damaged(f"the copy does not verify: {report.problems[0]}")
    if (report.origin, report.size, report.root, report.pending) != (manifest.origin, manifest.size, manifest.root, []):
        raise Damaged("the copy is not of the checkpoint that the service sent")
