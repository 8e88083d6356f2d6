"""Quantization by one setting: its modes, where each one can run, and what each is expected to lose."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

NONE = "none"

Capability = tuple[int, int]  # compute capability of an NVIDIA GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """Weights in fewer bits. `dtypes`: what it computes in, the one that `auto` takes first."""

    name: str
    dtypes: tuple[str, ...]
    loss: str  # as measured with SmolLM2-135M by `python -m benchmarks.quantization`; shown at start and recorded
    apart: float = 0.0  # on a CPU: a logit from the plain model's, as a share of the largest; beyond it no start
    package: str = ""  # that it needs beside torch
    kind: str = "cpu"  # of device; a GPU's are transformers' own layers, quantized as they are loaded
    capability: Capability = (0, 0)  # the least of a GPU


_INT8 = (
    "of SmolLM2-135M: mean NLL 0.1 % higher, one first choice of fifteen another; on a CPU without VNNI up to 0.9 %, "
    "one of nine"
)
_INT4 = "of SmolLM2-135M, which was in four bits before: mean NLL 2.4 % higher, one first choice of eight another"
_NF4 = (
    "of SmolLM2-135M, which was in four evenly spaced bits before: mean NLL 6.3 % higher over 7,272 tokens, one first "
    "choice of four another"
)
MODES = (
    Mode(name="int8", dtypes=("float32", "bfloat16"), apart=0.15, loss=_INT8),
    Mode(name="int4", dtypes=("bfloat16",), apart=0.4, loss=_INT4),
    Mode(name="nf4", dtypes=("bfloat16",), apart=0.4, loss=_NF4, package="bitsandbytes"),
)
_UNKNOWN = "not known: this mode was never run on a GPU"
GPU_MODES = (
    Mode(name="int8", kind="cuda", dtypes=("bfloat16", "float16"), package="bitsandbytes", capability=(7, 5),
         loss=_UNKNOWN),
    Mode(name="int4", kind="cuda", dtypes=("bfloat16",), package="torchao", capability=(8, 0), loss=_UNKNOWN),
    Mode(name="nf4", kind="cuda", dtypes=("bfloat16", "float16"), package="bitsandbytes", capability=(7, 5),
         loss=_UNKNOWN),
    Mode(name="fp8", kind="cuda", dtypes=("bfloat16",), package="torchao", capability=(8, 9), loss=_UNKNOWN),
)  # fmt: skip
ON_CPU = (NONE, *(mode.name for mode in MODES))
NAMES = (NONE, *dict.fromkeys(mode.name for mode in (*MODES, *GPU_MODES)))  # that a setting may say

Installed = Callable[[str], bool]


class QuantizationImpossible(ValueError):
    """Says which modes can be had instead."""


def is_installed(package: str) -> bool:
    """Found, and not imported."""
    return importlib.util.find_spec(package) is not None


def choose(
    name: str,
    *,
    device_type: str,
    dtype: str,
    capability: Capability | None = None,
    installed: Installed = is_installed,
) -> Mode | None:
    """None: weights stay as they are. `dtype` as it is set, `auto` included. Raises QuantizationImpossible."""
    if name == NONE:
        return None
    known = _of(device_type)
    can = possible(device_type, dtype, capability, installed)
    mode = next((mode for mode in can if mode.name == name), None)
    if mode is None:
        asked = next((mode for mode in known if mode.name == name), None)
        why = _obstacle(asked, dtype, capability, installed) if asked else "needs a GPU's own products"
        others = ", ".join((NONE, *(other.name for other in can)))
        raise QuantizationImpossible(
            f"quantization {name} {why}, and cannot be had on {device_type} in {dtype}: {others} can"
        )
    return mode


def possible(
    device_type: str, dtype: str, capability: Capability | None = None, installed: Installed = is_installed
) -> tuple[Mode, ...]:
    return tuple(mode for mode in _of(device_type) if not _obstacle(mode, dtype, capability, installed))


def _of(device_type: str) -> tuple[Mode, ...]:
    return MODES if device_type == "cpu" else GPU_MODES


def _obstacle(mode: Mode, dtype: str, capability: Capability | None, installed: Installed) -> str:
    """What is missing; empty: nothing."""
    if mode.kind != "cpu" and capability is None:
        return "needs an NVIDIA GPU"
    if mode.kind != "cpu" and capability is not None and capability < mode.capability:
        return f"needs compute capability {_shown(mode.capability)}, where this GPU has {_shown(capability)}"
    if dtype not in ("auto", *mode.dtypes):
        return f"computes in {' or '.join(mode.dtypes)}"
    if mode.package and not installed(mode.package):
        return f"needs the package {mode.package}, which is not installed"
    return ""


def _shown(capability: Capability) -> str:
    return ".".join(map(str, capability))
