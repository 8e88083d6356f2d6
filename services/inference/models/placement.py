"""Where a model's layers go: transformers' `device_map`, by a word or by layer."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

WORDS = ("auto", "balanced", "balanced_low_0", "sequential")  # as accelerate knows them


def device_map(asked: str) -> str | dict[str, int | str] | None:
    """None where nothing is asked. Raises ValueError, which names the bound."""
    if not asked:
        return None
    if asked in WORDS:
        return asked
    try:
        by_layer = json.loads(asked)
        sound = isinstance(by_layer, dict) and bool(by_layer) and all(map(_is_place, by_layer.values()))
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(
            f"device_map must be {', '.join(WORDS)}, or JSON that maps layers to a GPU's number, cpu or disk, "
            'such as {"model.embed_tokens": 0, "model.layers.0": "cpu"}'
        )
    return dict(by_layer)


def placing(asked: str, home: Path) -> dict[str, Any]:
    """What `from_pretrained` is told. Layers on disk are read anew at each pass, from a folder of the home."""
    where = device_map(asked)
    return {} if where is None else {"device_map": where, "offload_folder": str(home / "offload")}


def check_names(where: Any, modules: Collection[str]) -> None:
    """transformers passes over a name that it does not find. Raises ValueError."""
    unknown = sorted(name for name in where if name not in modules) if isinstance(where, dict) else []
    if unknown:
        raise ValueError(f"device_map must be of layers that the model has, and {unknown[0][:80]!r} is none")


def _is_place(place: Any) -> bool:
    if isinstance(place, int):
        return place >= 0 and not isinstance(place, bool)
    return isinstance(place, str) and (place in ("cpu", "disk") or place.startswith("cuda:"))
