"""Converts the wheel's GGUF into a transformers folder, once. Run it as a module with `--home DIR`."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from services.inference.models import wheel

MARKER = "strongroom-model.json"
_FORMAT = 2  # raise it when the conversion changes: older folders are then converted again

Progress = Callable[[str], None]


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def converted(home: Path, progress: Progress = to_stderr) -> Path:
    """The folder of the default model under `home`, made now if it is not there or was made from something else."""
    source = wheel.find()
    target = home / "models" / wheel.NAME
    if _is_current(target, source):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{wheel.NAME}-", dir=target.parent))
    try:
        _convert(source, work, progress)
        _put_in_place(work, target, source)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    progress(f"model: ready in {target}")
    return target


def marker(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_current(folder: Path, source: wheel.WheelModel) -> bool:
    """By revision and size: hashing the source at every start would cost more than it tells."""
    found = marker(folder)
    return (found.get("format"), found.get("revision"), found.get("source_bytes")) == (
        _FORMAT,
        source.revision,
        source.path.stat().st_size,
    )


def _put_in_place(work: Path, target: Path, source: wheel.WheelModel) -> None:
    """A folder appears whole or not at all. Of two converters at once the second finds the first's work."""
    if target.exists() and not _is_current(target, source):
        shutil.rmtree(target)
    try:
        os.rename(work, target)
    except OSError:
        if not _is_current(target, source):
            raise


def _convert(source: wheel.WheelModel, folder: Path, progress: Progress) -> None:
    progress(f"model: converting {source.path.name} once (about half a minute)")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where = {"pretrained_model_name_or_path": str(source.path.parent), "gguf_file": source.path.name}
    progress("model: tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(**where)
    _split_digits(tokenizer.backend_tokenizer)
    tokenizer.save_pretrained(folder)
    progress("model: weights")
    # transformers shows a bar with the remaining time, which no setting turns off: right on a terminal, not in a log.
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    with quiet:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The weights are plain tensors now, but a model loaded from GGUF refuses to be saved while it says otherwise.
    del model.config.quantization_config
    model.hf_quantizer = None  # type: ignore[assignment]
    model.config._name_or_path = wheel.NAME
    model.generation_config.eos_token_id = sorted({tokenizer.eos_token_id, model.config.eos_token_id})
    model.generation_config._from_model_config = False
    model.save_pretrained(folder)
    mark = {
        "format": _FORMAT,
        "name": wheel.NAME,
        "revision": source.revision,
        "source": source.path.name,
        "source_bytes": source.path.stat().st_size,
        "source_sha256": _sha256(source.path),
    }
    (folder / MARKER).write_text(json.dumps(mark, indent=2) + "\n")


def _split_digits(backend: object) -> None:
    """SmolLM2 splits numbers into single digits before byte-level BPE; reading GGUF loses that step."""
    from tokenizers import pre_tokenizers

    backend.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[attr-defined]
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the home folder; the model goes to HOME/models")
    home: Path = parser.parse_args().home
    try:
        print(converted(home))
    except wheel.ModelUnavailable as missing:
        to_stderr(f"model: {missing}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
