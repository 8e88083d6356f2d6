"""A model converted for openvino-genai: whole or not at all. The converter here is a small program in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.inference.models.openvino import NotConverted, export, find, folder_of

WRITES = """#!/bin/sh
for last; do :; done
mkdir -p "$last" && echo "$@" > "$last/asked" && echo mine > "$last/tokenizer.json"
echo weights > "$last/openvino_model.bin"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "firm"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("theirs")
    (folder / "strongroom-model.json").write_text(json.dumps({"revision": "7", "source_sha256": "ab"}))
    return folder


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_what_is_converted_says_what_it_was_made_from_and_keeps_the_models_own_tokenizer(
    source: Path, tmp_path: Path
) -> None:
    target = folder_of(source.parent, "firm", "int4")
    assert find(target) is None
    export(source, target, "int4", program(tmp_path / "convert", WRITES), print)
    found = find(target)
    assert found is not None
    assert (found.name, found.revision, found.source_sha256, found.weights) == ("firm", "7", "ab", "int4")
    assert (target / "tokenizer.json").read_text() == "theirs"
    assert "--weight-format int4 --group-size 64" in (target / "asked").read_text()
    assert [path.name for path in source.parent.iterdir() if path.name.startswith(".")] == []


def test_a_conversion_that_fails_leaves_what_was_there_and_tells_what_the_converter_said(
    source: Path, tmp_path: Path
) -> None:
    target, told = folder_of(source.parent, "firm", "int8"), []
    export(source, target, "int8", program(tmp_path / "convert", WRITES), print)
    broken = program(tmp_path / "broken", f"{WRITES}\necho the reason\nexit 3\n")
    with pytest.raises(NotConverted, match="ended with 3"):
        export(source, target, "int8", broken, told.append)
    assert find(target) is not None
    assert "the reason" in told[-1]
