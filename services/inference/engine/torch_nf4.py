"""Linear layers in NF4 on a CPU: four bits name one of 16 quantiles of a normal distribution, a bf16 scale for 32.

bitsandbytes quantizes, packs and multiplies (QLoRA, arXiv 2305.14314). Its product takes few rows as fast as it reads
the weights, and a prompt's many in 1.4 to 2.4 times what bf16 takes (256 rows, one thread).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from services.inference.engine.quantization import QuantizationImpossible
from services.inference.engine.torch_codes import Codes, Source
from services.inference.engine.torch_four_bits import FourBitPacking, is_whole
from services.inference.models.bitsandbytes import library

GROUP = 32  # inputs that share a scale; with 64, bitsandbytes' default, SmolLM2's NLL rose half as much again
_OUTPUTS = 32  # the kernel takes them in such blocks
_KIND = "nf4"


def weight_codes(weight: Tensor) -> Codes:
    """uint8 [out, in / 2] as the product reads them, 32 outputs beside each other, and bf16 scales [in / 32, out]."""
    quantize, packed = library().quantize_4bit, library()._convert_weight_packed_for_cpu
    codes, state = packed(*quantize(weight.detach().contiguous(), blocksize=GROUP, quant_type=_KIND))
    return Codes(codes, state.absmax)


class Nf4:
    """Its product."""

    def __init__(self, made: Codes) -> None:
        self._weight, self._scales = made.codes, made.scales
        self._shape = (len(made.codes), 2 * made.codes.shape[1])

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.bitsandbytes.gemv_4bit(x, self._weight, self._shape, self._scales, _values(), GROUP)
        return out


class Nf4Kernel:
    """bitsandbytes', a `torch_four_bits.Kernel`."""

    def __init__(self) -> None:
        """Raises QuantizationImpossible."""
        if not library().has_avx512bf16():
            raise QuantizationImpossible(
                "quantization nf4 cannot be had on this CPU, for which bitsandbytes has no product (AVX512-BF16 is "
                "missing): none, int8, int4 can"
            )

    def fits(self, weight: Tensor) -> bool:
        return is_whole(weight, outputs=_OUTPUTS, inputs=GROUP)

    def codes(self, weight: Tensor) -> Codes:
        return weight_codes(weight)

    def product(self, made: Codes) -> Nf4:
        return Nf4(made)


def nf4_packing(source: Source | None = None) -> FourBitPacking:
    """Raises QuantizationImpossible."""
    return FourBitPacking(Nf4Kernel(), source)


@cache
def _values() -> Tensor:
    """The 16 quantiles. The product has them itself, and sees by the second one which kind of code is meant."""
    found: Tensor = library().get_4bit_type(_KIND, device="cpu")
    return found
