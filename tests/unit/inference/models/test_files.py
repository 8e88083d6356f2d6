"""Which files a model is of, told so that anybody can check it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from services.inference.models.files import Files


def files(folder: Path, contents: dict[str, bytes]) -> Files:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Files(folder=folder, weights=tuple(folder / name for name in contents))


def test_one_file_has_the_digest_that_whoever_published_it_names(tmp_path: Path) -> None:
    assert files(tmp_path, {"model.safetensors": b"weights"}).digest() == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not here: coreutils has it")
def test_several_have_that_of_what_sha256sum_says_of_them(tmp_path: Path) -> None:
    """Fails if it depends on the order in which an index names them."""
    made = files(tmp_path, {"b.safetensors": b"second", "a.safetensors": b"first"})
    said = subprocess.run(
        ["sha256sum", "a.safetensors", "b.safetensors"], cwd=tmp_path, capture_output=True, check=True
    )
    assert made.digest() == hashlib.sha256(said.stdout).hexdigest()


def test_a_changed_weight_or_name_is_another_model(tmp_path: Path) -> None:
    contents = {"a.safetensors": b"first", "b.safetensors": b"second"}
    digests = set()
    for number, changed in enumerate((contents, {**contents, "b.safetensors": b"Second"}, {"a.safetensors": b"first"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        digests.add(files(folder, changed).digest())
    assert len(digests) == 3
