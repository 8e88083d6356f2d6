"""fp8 weights whose last blocks are cut off at the edge, which transformers' own reading refuses.

DeepSeek-V3's `kv_a_proj_with_mqa` is one in each layer: 576 outputs in blocks of 128.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn, uint8
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer


def whole_blocks() -> None:
    """From now on transformers reads them, too."""
    AUTO_QUANTIZER_MAPPING["fp8"] = _Fp8


class _WholeBlocks(Fp8Dequantize):  # type: ignore[misc, unused-ignore]
    """Fills the last blocks up with zeros, which are cut off again."""

    def _dequantize_one(self, quantized: Tensor, scales: Tensor, output_dtype: Any = None) -> Tensor:
        block = self.hf_quantizer.quantization_config.weight_block_size
        if not block or scales.ndim < 2 or quantized.element_size() > 1:
            return super()._dequantize_one(quantized, scales, output_dtype)
        rows, columns = quantized.shape[-2:]
        missing = (0, scales.shape[-1] * block[1] - columns, 0, scales.shape[-2] * block[0] - rows)
        filled = nn.functional.pad(quantized.view(uint8), missing).view(quantized.dtype)
        return super()._dequantize_one(filled, scales, output_dtype)[..., :rows, :columns]


class _Fp8(FineGrainedFP8HfQuantizer):  # type: ignore[misc, unused-ignore]
    def get_load_operations(self) -> dict[str, Any]:
        return {"dequantize": _WholeBlocks}
