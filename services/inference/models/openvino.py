"""Converts a transformers folder for openvino-genai, once for each way of storing its weights.

The converter, optimum-intel, wants an older transformers than the worker's: it runs in an environment of its own, which
`make openvino` makes before it runs this module. Imports nothing but the standard library until it converts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = "strongroom-openvino.json"
WEIGHTS = {"none": "fp16", "int8": "int8", "int4": "int4"}  # by the setting `quantization`
_GROUP = 64  # weights of int4 that share a scale; it divides the hidden sizes of all models that we know
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_TELL_SECONDS = 10.0

Progress = Callable[[str], None]


class NotConverted(Exception):
    """The converter failed; the message says how to see why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A folder that openvino-genai opens, and what it was made from."""

    folder: Path
    name: str
    revision: str
    source_sha256: str
    weights: str

    @property
    def bytes(self) -> int:
        return (self.folder / "openvino_model.bin").stat().st_size


def folder_of(models: Path, name: str, quantization: str) -> Path:
    return models / f"{name}.openvino-{WEIGHTS[quantization]}"


def find(folder: Path) -> Converted | None:
    """None: there is no model, or the conversion did not end."""
    try:
        mark = json.loads((folder / MARKER).read_text())
        found = Converted(
            folder=folder,
            name=str(mark["name"]),
            revision=str(mark["revision"]),
            source_sha256=str(mark["source_sha256"]),
            weights=str(mark["weights"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if (folder / "openvino_model.bin").is_file() else None


def export(source: Path, target: Path, weights: str, exporter: Path, progress: Progress) -> None:
    """Appears whole or not at all. `exporter` is the optimum-cli of its environment. Raises NotConverted."""
    half = target.with_name(f".{target.name}-part")
    shutil.rmtree(half, ignore_errors=True)
    how = ["--group-size", str(_GROUP), "--ratio", "1.0"] if weights == "int4" else []
    asked = ["--model", str(source), "--task", "text-generation-with-past", "--weight-format", weights, *how]
    progress(f"model: converting {source.name} for openvino-genai, weights in {weights}")
    _run([str(exporter), "export", "openvino", *asked, str(half)], progress)
    for file in _TOKENIZER:  # as they are: the converter's older libraries would save them anew
        if (source / file).is_file():
            shutil.copy2(source / file, half / file)
    mark = _marker(source) | {"name": source.name, "weights": weights}
    (half / MARKER).write_text(json.dumps(mark, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)


def _run(command: list[str], progress: Progress) -> None:
    """On a terminal its own bars are seen; elsewhere a line now and again, and the end of what it said if it fails."""
    seen = sys.stderr.isatty()
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as said:
        out: Any = sys.stderr if seen else said
        process = subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        began = time.monotonic()
        try:
            while True:
                try:
                    process.wait(_TELL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"model: converting… {time.monotonic() - began:.0f} s")
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            said.seek(0)
            progress("".join(said.readlines()[-15:]))
            raise NotConverted(f"optimum-cli ended with {process.returncode}: what it said last stands above")


def _marker(source: Path) -> dict[str, str]:
    try:
        found = json.loads((source / "strongroom-model.json").read_text())
    except (OSError, ValueError):
        found = {}
    return {name: str(found.get(name, "")) for name in ("revision", "source_sha256")}


def main() -> int:
    from services.inference.models.convert import to_stderr
    from services.inference.models.loading import ModelSource, locate
    from services.inference.models.wheel import NAME, ModelUnavailable

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the home folder; the model goes to HOME/models")
    parser.add_argument("--model", default=NAME, help="a name under HOME/models, or a transformers folder")
    parser.add_argument("--quantization", choices=tuple(WEIGHTS), default="int8", help="how its weights are stored")
    parser.add_argument("--exporter", type=Path, required=True, help="optimum-cli of the converter's environment")
    asked = parser.parse_args()
    try:
        files = locate(ModelSource(model=asked.model), asked.home)
        if files is None or files.gguf:
            raise ModelUnavailable(f"{asked.model!r} is no transformers folder, and no other is converted")
        target = folder_of(asked.home / "models", files.folder.name, asked.quantization)
        if find(target) is None:
            export(files.folder, target, WEIGHTS[asked.quantization], asked.exporter, to_stderr)
        print(target)
    except (ModelUnavailable, NotConverted) as problem:
        to_stderr(f"model: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
