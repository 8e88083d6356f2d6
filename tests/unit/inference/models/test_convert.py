"""The default model's folder: made once, whole, and again when its source changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.inference.models.convert import MARKER, converted, marker
from services.inference.models.loading import ModelSource, load
from services.inference.models.wheel import NAME, ModelUnavailable


def test_the_folder_is_whole_and_says_where_it_came_from(models_home: Path) -> None:
    folder = models_home / "models" / NAME
    present = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", MARKER} <= present
    assert len(str(marker(folder)["source_sha256"])) == 64
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(f".{NAME}")], "work left behind"


def test_a_second_call_does_nothing(models_home: Path) -> None:
    said: list[str] = []
    before = (models_home / "models" / NAME / "config.json").stat().st_mtime_ns
    folder = converted(models_home, said.append)
    assert (folder / "config.json").stat().st_mtime_ns == before
    assert said == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 0}'])
def test_a_folder_with_a_foreign_marker_is_not_trusted(tmp_path: Path, content: str) -> None:
    (tmp_path / MARKER).write_text(content)
    assert marker(tmp_path).get("format") in (None, 0)


def test_an_unknown_model_is_named_with_the_remedy_and_no_hub_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"'no-such/model'.*hub"):
        load(ModelSource(model="no-such/model"), tmp_path)


def test_a_folder_is_opened_by_path_as_well_as_by_name(models_home: Path) -> None:
    loaded = load(ModelSource(model=str(models_home / "models" / NAME), device="cpu"), models_home)
    assert (loaded.name, loaded.revision) == (NAME, str(marker(models_home / "models" / NAME)["revision"]))
    assert loaded.end_ids == {2}
    assert loaded.parameters == 134_515_008
