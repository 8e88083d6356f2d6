"""Whether a model's files are all there and whole, by their names, headers and sizes; and which ones they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.inference.models.wheel import ModelUnavailable

_INDEX = "model.safetensors.index.json"
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own bound
_COPY_AGAIN = "copy the model's folder again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What is loaded: a transformers folder, or one GGUF file in a folder."""

    folder: Path
    weights: tuple[Path, ...]
    gguf: str = ""  # the file's name

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.weights)

    def digest(self) -> str:
        """SHA-256 in hex of the weights' file; of several, of what `sha256sum` prints of them in the order of names."""
        sums = [(_sha256(path), path.name) for path in sorted(self.weights)]
        if len(sums) == 1:
            return sums[0][0]
        return hashlib.sha256("".join(f"{found}  {name}\n" for found, name in sums).encode()).hexdigest()


def find(place: Path) -> Files | None:
    """What lies at a path; None if it is no model. Raises ModelUnavailable where one is damaged."""
    if place.suffix == ".gguf" and place.is_file():
        return _gguf(place)
    if (place / "config.json").is_file():
        return _folder(place)
    ggufs = sorted(place.glob("*.gguf")) if place.is_dir() else []
    if len(ggufs) > 1:
        names = ", ".join(path.name for path in ggufs[:5])
        raise ModelUnavailable(f"{place} holds {len(ggufs)} GGUF files ({names}): name one of them as the model")
    return _gguf(ggufs[0]) if ggufs else None


def _folder(folder: Path) -> Files:
    config = _json(folder / "config.json")
    known = _known_types()
    if config.get("model_type") not in known:
        raise ModelUnavailable(
            f"{folder.name} is of the type {str(config.get('model_type'))[:80]!r}, which this transformers does not "
            "know: take another model, or a transformers that knows it"
        )
    weights = _shards(folder)
    for path in weights:
        _check_safetensors(path)
    return Files(folder=folder, weights=weights)


def _shards(folder: Path) -> tuple[Path, ...]:
    if (folder / _INDEX).is_file():
        try:
            names = sorted({str(name) for name in _json(folder / _INDEX)["weight_map"].values()})
        except (KeyError, AttributeError):
            raise ModelUnavailable(f"{_INDEX} of {folder.name} names no files: {_COPY_AGAIN}") from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            some = ", ".join(missing[:3])
            raise ModelUnavailable(f"{folder.name} lacks {len(missing)} of {len(names)} files ({some}): {_COPY_AGAIN}")
        return tuple(folder / name for name in names)
    single = folder / "model.safetensors"
    if not single.is_file():
        raise ModelUnavailable(
            f"{folder.name} has no model.safetensors: {_COPY_AGAIN}, or save the model as safetensors (other formats "
            "can run code when they are read, and are not loaded)"
        )
    return (single,)


def _check_safetensors(path: Path) -> None:
    """The header says where the last tensor ends, and there the file must end."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise ValueError
            header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ModelUnavailable(f"{path.name} is cut off or no safetensors file: {_COPY_AGAIN}") from None
    if size != wanted:
        raise ModelUnavailable(f"{path.name} has {size} bytes of {wanted}: {_COPY_AGAIN}")


def _gguf(path: Path) -> Files:
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    try:
        reader = GGUFReader(path)
        field = reader.fields["general.architecture"]
        architecture = bytes(field.parts[field.data[0]]).decode()
    except Exception:  # the reader maps the file and raises what it meets: a bad size, number, offset or name
        raise ModelUnavailable(f"{path.name} is cut off or no GGUF file: copy it again") from None
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelUnavailable(
            f"{path.name} is of the architecture {architecture[:80]!r}, of which transformers reads no GGUF: take the "
            "model's safetensors"
        )
    return Files(folder=path.parent, weights=(path,), gguf=path.name)


def _known_types() -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelUnavailable(f"{path.name} of {path.parent.name} cannot be read: {_COPY_AGAIN}")
    return found
