"""Quantization by one setting: its modes, where each one can run, and what each is expected to lose."""

from __future__ import annotations

from dataclasses import dataclass

NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """Weights in fewer bits. `dtypes`: what it computes in on a CPU, the one that `auto` takes first."""

    name: str
    dtypes: tuple[str, ...]
    apart: float  # a logit from the plain model's, as a share of the largest: beyond it the worker does not start
    loss: str  # as measured with SmolLM2-135M by `python -m benchmarks.quantization`; shown at start and recorded


_INT8 = "of SmolLM2-135M: mean NLL 0.1 % higher, one first choice of fifteen another"
_INT4 = "of SmolLM2-135M, which was in four bits before: mean NLL 2.4 % higher, one first choice of eight another"
MODES = (
    Mode(name="int8", dtypes=("float32", "bfloat16"), apart=0.15, loss=_INT8),
    Mode(name="int4", dtypes=("bfloat16",), apart=0.4, loss=_INT4),
)
SERVED = (NONE, *(mode.name for mode in MODES))
_NOT_SERVED = {
    "nf4": "needs bitsandbytes, which is no part of this version,",
    "fp8": "needs a GPU's own products, which no kernel of this version calls,",
}
NAMES = (*SERVED, *_NOT_SERVED)  # that a setting may say; what cannot be had is refused with the device's modes


class QuantizationImpossible(ValueError):
    """Says which modes can be had instead."""


def choose(name: str, *, device_type: str, dtype: str) -> Mode | None:
    """None: weights stay as they are. `dtype` as it is set, `auto` included. Raises QuantizationImpossible."""
    if name == NONE:
        return None
    can = possible(device_type, dtype)
    mode = next((mode for mode in can if mode.name == name), None)
    if mode is None:
        why = f" {_NOT_SERVED[name]} and" if name in _NOT_SERVED else ""
        others = ", ".join((NONE, *(other.name for other in can)))
        raise QuantizationImpossible(
            f"quantization {name}{why} cannot be had on {device_type} in {dtype}: {others} can"
        )
    return mode


def possible(device_type: str, dtype: str) -> tuple[Mode, ...]:
    if device_type != "cpu":
        return ()
    return tuple(mode for mode in MODES if dtype in ("auto", *mode.dtypes))
