"""Modes in which weights can be held: what they take, and which of them this version serves. The one table of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.inference.planning.architecture import Architecture, Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    name: str
    bits: int  # a weight of a matrix product: layers, experts and head
    scale_bits: int = 0  # for each group of weights
    group: int = 0  # weights that share a scale; 0: a whole row
    plain_bytes: int = 2  # norms, biases, a number of the KV cache, and the embedding, if `coded_ends` is not set
    coded_ends: bool = False  # embedding and head are in bytes with a float32 scale a row, and lie there once if tied
    computes: str = "bf16"  # the device's rate that holds for it
    needs: str = ""  # a rate that a device must have; empty: every device can
    served: tuple[str, ...] = ()  # engines of this version that run it
    kinds: tuple[str, ...] = ("cpu", "cuda")  # on these
    settings: tuple[str, ...] = ()  # what asks for it

    def serves(self, kind: str) -> tuple[str, ...]:
        """Engines that run it on a device of that kind."""
        return self.served if kind in self.kinds else ()

    def product_bytes(self, weights: int, row: int) -> int:
        """`row`: weights in a row, where that is the group."""
        return weights * self.bits // 8 + weights // (self.group or row) * self.scale_bits // 8

    def head_bytes(self, weights: int, row: int) -> int:
        return weights + weights // row * 4 if self.coded_ends else self.product_bytes(weights, row)


# A mode that comes to be served gets its engine and its settings here; plan, text and documentation follow.
# Layouts: int8 has a float32 scale a row (engine/torch_int8.py), int4 a bf16 scale and zero for 32 weights or 64, about
# half of a model each, hence 42 (engine/torch_int4.py), nf4 a bf16 scale for 32 (engine/torch_nf4.py). What was
# never run is not planned for: fp8, and every mode on a GPU.
MODES = (
    Mode(name="fp32", bits=32, plain_bytes=4, computes="fp32", served=("torch",), settings=("DTYPE=float32",)),
    Mode(name="bf16", bits=16, served=("torch",), settings=("DTYPE=bfloat16",)),
    Mode(
        name="int8", bits=8, scale_bits=32, coded_ends=True, computes="int8", served=("torch",), kinds=("cpu",),
        settings=("DTYPE=bfloat16", "QUANTIZATION=int8"),
    ),
    Mode(name="fp8", bits=8, scale_bits=32, group=128 * 128, needs="fp8"),
    Mode(
        name="int4", bits=4, scale_bits=32, group=42, coded_ends=True, served=("torch",), kinds=("cpu",),
        settings=("DTYPE=bfloat16", "QUANTIZATION=int4"),
    ),
    Mode(
        name="nf4", bits=4, scale_bits=16, group=32, coded_ends=True, served=("torch",), kinds=("cpu",),
        settings=("DTYPE=bfloat16", "QUANTIZATION=nf4"),
    ),
)  # fmt: skip


def modes_on(kind: str, rates: Mapping[str, float]) -> tuple[Mode, ...]:
    """Those that a device's known figures leave. A CPU without bfloat16 has float32 between int8's products."""
    possible = tuple(mode for mode in MODES if not mode.needs or mode.needs in rates)
    if kind != "cpu" or not rates or "bf16" in rates:
        return possible
    return tuple(
        replace(mode, plain_bytes=4, settings=("DTYPE=float32", *mode.settings[1:]))
        for mode in possible
        if mode.computes in rates
    )


def layer_bytes(model: Architecture, mode: Mode, layer: int) -> int:
    products = model.in_layer(layer, Kind.LINEAR) + model.in_layer(layer, Kind.EXPERTS)
    return mode.product_bytes(products, model.hidden) + model.in_layer(layer, Kind.PLAIN) * mode.plain_bytes


def embedding_bytes(model: Architecture, mode: Mode) -> int:
    return mode.head_bytes(model.head, model.hidden) if mode.coded_ends else model.head * mode.plain_bytes


def head_bytes(model: Architecture, mode: Mode, *, copied: bool) -> int:
    """`copied`: a head that is the embedding lies in memory a second time, as it is packed or quantized."""
    own = not model.tied or (not mode.coded_ends and (copied or mode.bits < 16))
    return (mode.head_bytes(model.head, model.hidden) if own else 0) + model.hidden * mode.plain_bytes


def token_bytes(model: Architecture, mode: Mode, layers: int = 0) -> int:
    """Of the KV cache, in so many layers; 0: all."""
    return sum(model.cached) * mode.plain_bytes * (layers or model.layers)
