"""LoRA adapters in peft's format: what a folder says of itself, its digest, and why one is not taken."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from services.inference.engine.sampling import EngineRefusal

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_ADAPTERS = 32  # loaded at once
MAX_RANK = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_CONFIG_BYTES = 1 << 20


class AdapterRefused(EngineRefusal):
    """The adapter is not taken; what is loaded stays as it was. The message names what differs and the remedy."""

    reason = "ADAPTER_REFUSED"

    def __init__(self, message: str, bound: str = "") -> None:
        super().__init__("adapter", bound, message)


class AdapterNotServed(EngineRefusal):
    reason = "ADAPTER_NOT_SERVED"

    def __init__(self, name: str) -> None:
        super().__init__("adapter", "a loaded adapter", f"adapter {name!r} is not loaded: load it, or leave it out")


class AdapterInUse(EngineRefusal):
    reason = "ADAPTER_IN_USE"

    def __init__(self, name: str, requests: int) -> None:
        super().__init__("adapter", "0 requests", f"{requests} requests run with adapter {name!r}: try again later")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterInfo:
    """One that is loaded, for listing and for the record."""

    name: str
    digest: str  # SHA-256 in hex of adapter_config.json followed by adapter_model.safetensors
    rank: int  # the largest of its layers
    layers: int
    parameters: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """Of adapter_config.json what decides the numbers."""

    base_model: str  # as its maker named it; "" when it does not say
    alpha: float
    rank_stabilized: bool  # the scale is alpha / √rank, not alpha / rank

    def scale(self, rank: int) -> float:
        return self.alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


class AdapterHost(Protocol):
    """Runs adapters for an engine. All but `read` on the engine's thread, between steps."""

    @property
    def loaded(self) -> tuple[AdapterInfo, ...]: ...

    def read(self, name: str, folder: Path) -> Any:
        """Reads and checks the files: what `load` takes. Any thread. Raises AdapterRefused."""
        ...

    def load(self, read: Any) -> AdapterInfo:
        """Puts it in place and tries it. Raises AdapterRefused; EngineFull when no slot is free to try it in."""
        ...

    def unload(self, name: str) -> None:
        """Raises AdapterNotServed, AdapterInUse."""
        ...


def adapter_folder(home: Path, name: str) -> Path:
    """Where an adapter of this name lies: only there, so that a caller names no path. Raises AdapterRefused."""
    if not _NAME.fullmatch(name):
        raise AdapterRefused("an adapter's name is 1 to 64 letters, digits, dots, dashes and underscores", "1 to 64")
    folder = home / "adapters" / name
    missing = [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise AdapterRefused(f"HOME/adapters/{name} has no {' and no '.join(missing)}: put peft's two files there")
    return folder


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """Both files, read once: what is checked, digested and computed with are the same bytes, whatever is written to
    the folder meanwhile."""

    config: bytes
    weights: bytes

    @staticmethod
    def read(folder: Path) -> AdapterFiles:
        """Raises OSError."""
        with (folder / CONFIG).open("rb") as file:
            config = file.read(_MAX_CONFIG_BYTES)
        return AdapterFiles(config, (folder / WEIGHTS).read_bytes())

    @property
    def digest(self) -> str:
        """Both files decide what is computed, so both are in it: `cat` them into `sha256sum` to check."""
        found = hashlib.sha256(self.config)
        found.update(self.weights)
        return found.hexdigest()


def plain_lora(config: bytes) -> AdapterConfig:
    """Raises AdapterRefused for what is not plain LoRA: it would run and answer wrongly."""
    try:
        found = json.loads(config)
        alpha = float(found["lora_alpha"])
    except (ValueError, KeyError, TypeError):
        raise AdapterRefused(f"{CONFIG} is not a LoRA configuration of peft: save the adapter again") from None
    for field, plain in (
        ("peft_type", ("LORA",)),
        ("bias", (None, "none")),
        ("use_dora", (None, False)),
        ("fan_in_fan_out", (None, False)),
        ("modules_to_save", (None, [])),
        ("alpha_pattern", (None, {})),
        ("target_parameters", (None, [])),
        ("layer_replication", (None, [])),
    ):
        if found.get(field) not in plain:
            raise AdapterRefused(f"{CONFIG} sets {field}, which this engine does not run: train it as plain LoRA")
    return AdapterConfig(
        base_model=str(found.get("base_model_name_or_path") or ""),
        alpha=alpha,
        rank_stabilized=bool(found.get("use_rslora")),
    )
