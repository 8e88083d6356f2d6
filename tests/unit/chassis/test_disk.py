"""Folders and key files that cannot be used: what is wrong, whose they are, what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from chassis.disk import MIB, FolderUnusable, explained, refusal_of_secret, require_room


def test_a_folder_with_room_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    require_room(folder, MIB)
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_in_a_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(FolderUnusable, match="audit is no folder: something else is in its place"):
        require_room(tmp_path / "audit", MIB)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, r"may not be used by uid \d+: it belongs to uid \d+ with mode 0\d+; give it with chown -R"),
        (errno.EROFS, "is on a read-only file system: mount its volume without `ro`"),
        (errno.ENOSPC, "no space is left: free some, or enlarge the volume"),
        (errno.EDQUOT, "no space is left"),
        (errno.EIO, "Input/output error: check the disk"),
    ],
)
def test_each_refusal_has_its_remedy(number: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(explained(OSError(number, "", str(path)), tmp_path))


def test_a_secret_that_docker_made_a_folder_of_is_told_apart(tmp_path: Path) -> None:
    try:
        tmp_path.read_bytes()
    except OSError as error:
        assert "is a folder: the secret was not there when the container was made" in refusal_of_secret(error, tmp_path)
    missing = tmp_path / "queue"
    assert "queue is missing" in refusal_of_secret(FileNotFoundError(errno.ENOENT, "", str(missing)), missing)
