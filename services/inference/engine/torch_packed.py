"""Eight-bit weights as oneDNN's products read them: packed once, and read from a file without packing them again.

A packed weight is 64 outputs beside each other, four inputs of each together, [out / 64, in / 4, 64, 4], and behind
them what oneDNN needs of each output for activations around 128. That is this machine's layout if a weight of the
same shape, packed here, says so: otherwise nothing is read as packed.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from services.inference.engine.torch_rows import FINE, ZERO, Rows

_OUTPUTS, _INPUTS = 64, 4  # that lie together
_SUM = 4  # bytes for each output, behind all codes


class Packer:
    """Packs the weights of one model: of each shape the first one by oneDNN, which takes 3 ms for a million numbers."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], Tensor | None] = {}

    def __call__(self, codes: Tensor, outputs: int, inputs: int) -> Tensor:
        """`codes`: int8 [out, in], or the bytes of such a weight packed, by whichever machine."""
        if codes.ndim == 2:
            return packed(codes)
        return self._restored(codes, outputs, inputs)

    def _restored(self, kept: Tensor, outputs: int, inputs: int) -> Tensor:
        shape = (outputs, inputs)
        if shape not in self._first:
            made = packed(plain_codes(kept, *shape))
            found = memory(made)
            self._first[shape] = made if found is not None and torch.equal(found, kept) else None
            return made
        first = self._first[shape]
        if first is None:
            return packed(plain_codes(kept, *shape))
        made = first.clone()  # of its layout; the numbers are written over
        ctypes.memmove(torch.ops.mkldnn.data_ptr(made), kept.data_ptr(), kept.nbytes)
        return made


def packed(codes: Tensor) -> Tensor:
    made: Tensor = torch.ops.onednn.qlinear_prepack(codes, None)
    return made


def products(rows: Rows, weight: Tensor, scales: Tensor) -> Tensor:
    """float32 [rows, out]. `scales`: of the packed weight's outputs, with the rows' share of 1/127."""
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows.codes, 1.0, ZERO, weight, scales, _zeros(len(scales)), None, 1.0, 0, torch.float32, "none", [], ""
    )
    if (count := len(rows.largest)) < len(out):
        out = out[:count].add_(out[count:].mul_(FINE))  # not at once: where a vector ends it would round otherwise
    return out.mul_(rows.largest)


def memory(weight: Tensor) -> Tensor | None:
    """The bytes of a packed weight, which must outlive them. None: they do not lie as they are known here."""
    inputs, outputs = weight.shape
    size = torch.ops.mkldnn._nbytes(weight)
    if outputs % _OUTPUTS or size != (inputs + _SUM) * outputs:  # inputs that are no multiple of 64 are filled up
        return None
    held = (ctypes.c_char * size).from_address(torch.ops.mkldnn.data_ptr(weight))
    return torch.frombuffer(held, dtype=torch.int8)


def kept(codes: Tensor) -> Tensor:
    """What `Packer` takes quickest: the bytes that these codes are packed to, where those lie as they are known."""
    weight = packed(codes)
    found = memory(weight)
    return codes if found is None or not torch.equal(plain_codes(found, *codes.shape), codes) else found.clone()


def blocks(kept: Tensor, outputs: int, inputs: int) -> Tensor:
    """A view of packed bytes, [out / 64, in / 4, 64, 4]: an output's codes are `[number // 64, :, number % 64]`."""
    return kept[: outputs * inputs].view(outputs // _OUTPUTS, inputs // _INPUTS, _OUTPUTS, _INPUTS)


def rows(blocked: Tensor, numbers: Tensor) -> Tensor:
    """The codes of those outputs, [numbers, in]."""
    return blocked[numbers // _OUTPUTS, :, numbers % _OUTPUTS].flatten(1)


def plain_codes(kept: Tensor, outputs: int, inputs: int) -> Tensor:
    """int8 [out, in], whichever way they are kept."""
    if kept.ndim == 2:
        return kept
    return blocks(kept, outputs, inputs).permute(0, 2, 1, 3).reshape(outputs, inputs)


@cache
def _zeros(count: int) -> Tensor:
    """The weights' zero points, which are none: the same for all layers of a width."""
    return torch.zeros(count, dtype=torch.int32)
