"""GPUs by their makers' data sheets, and names that people call them by."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    name: str
    memory: int  # bytes
    bandwidth: float = 0.0  # bytes a second; 0: unknown
    rates: Mapping[str, float] = field(
        default_factory=dict
    )  # operations a second by what is computed in, without sparsity
    source: str = "as described"


class UnknownDevice(ValueError):
    """Says which there are."""


@cache
def known() -> tuple[Gpu, ...]:
    listed = json.loads(files(__package__).joinpath("devices.json").read_text(encoding="utf-8"))
    return tuple(
        Gpu(
            name=one["name"],
            memory=one["memory_gib"] << 30,
            bandwidth=one["bandwidth_gb_s"] * 1e9,
            rates={name: rate * 1e12 for name, rate in one["tflops"].items()},
            source=one["source"],
        )
        for one in listed["devices"]
    )


def find(name: str) -> Gpu:
    """By as much of the name as tells one from the others, whatever its case and its signs. Raises UnknownDevice."""
    wanted = _bare(name)
    exact = [gpu for gpu in known() if _bare(gpu.name) == wanted]
    found = exact or [gpu for gpu in known() if wanted and wanted in _bare(gpu.name)]
    if len(found) != 1:
        names = ", ".join(gpu.name for gpu in found or known())
        which = "fits several" if found else "is not in the table"
        raise UnknownDevice(f"gpu {name[:80]!r} {which} ({names}): name one, or describe it by --gpu-memory")
    return found[0]


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("nvidia", "").replace("geforce", ""))
