"""Quantization by one setting: its modes, where each one can run, and what each is expected to lose."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """Weights in fewer bits. `dtypes`: what it computes in on a CPU, the one that `auto` takes first."""

    name: str
    dtypes: tuple[str, ...]
    apart: float  # a logit from the plain model's, as a share of the largest: beyond it the worker does not start
    loss: str  # as measured with SmolLM2-135M by `python -m benchmarks.quantization`; shown at start and recorded
    package: str = ""  # that it needs beside torch


_INT8 = "of SmolLM2-135M: mean NLL 0.1 % higher, one first choice of fifteen another"
_INT4 = "of SmolLM2-135M, which was in four bits before: mean NLL 2.4 % higher, one first choice of eight another"
_NF4 = (
    "of SmolLM2-135M, which was in four evenly spaced bits before: mean NLL 7 % higher over 1,324 tokens, one first "
    "choice of four another"
)
MODES = (
    Mode(name="int8", dtypes=("float32", "bfloat16"), apart=0.15, loss=_INT8),
    Mode(name="int4", dtypes=("bfloat16",), apart=0.4, loss=_INT4),
    Mode(name="nf4", dtypes=("bfloat16",), apart=0.4, loss=_NF4, package="bitsandbytes"),
)
SERVED = (NONE, *(mode.name for mode in MODES))
_NOT_SERVED = {
    "fp8": "needs a GPU's own products, which no kernel of this version calls,",
}
NAMES = (*SERVED, *_NOT_SERVED)  # that a setting may say; what cannot be had is refused with the device's modes

Installed = Callable[[str], bool]


class QuantizationImpossible(ValueError):
    """Says which modes can be had instead."""


def is_installed(package: str) -> bool:
    """Found, and not imported."""
    return importlib.util.find_spec(package) is not None


def choose(name: str, *, device_type: str, dtype: str, installed: Installed = is_installed) -> Mode | None:
    """None: weights stay as they are. `dtype` as it is set, `auto` included. Raises QuantizationImpossible."""
    if name == NONE:
        return None
    can = possible(device_type, dtype, installed)
    mode = next((mode for mode in can if mode.name == name), None)
    if mode is None:
        others = ", ".join((NONE, *(other.name for other in can)))
        raise QuantizationImpossible(
            f"quantization {name}{_why(name, installed)} cannot be had on {device_type} in {dtype}: {others} can"
        )
    return mode


def possible(device_type: str, dtype: str, installed: Installed = is_installed) -> tuple[Mode, ...]:
    if device_type != "cpu":
        return ()
    return tuple(
        mode for mode in MODES if dtype in ("auto", *mode.dtypes) and (not mode.package or installed(mode.package))
    )


def _why(name: str, installed: Installed) -> str:
    if name in _NOT_SERVED:
        return f" {_NOT_SERVED[name]} and"
    package = next((mode.package for mode in MODES if mode.name == name), "")
    return f" needs {package}, which is not installed, and" if package and not installed(package) else ""
