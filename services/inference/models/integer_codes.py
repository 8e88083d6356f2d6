"""GPTQ's and AWQ's files: weights as whole numbers of few bits, many in an int32, read as the numbers they say.

A weight is (code - zero) × scale; scale and zero are a group's of inputs, for each output. GPTQ packs neighbouring
inputs together, lowest bits first, and names each input's group (`g_idx`), AWQ neighbouring outputs in an order of its
own. The layouts are those that AutoGPTQ 0.7 and AutoAWQ 0.2 write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from services.inference.models.wheel import ModelUnavailable

METHODS = ("gptq", "awq")
_WORD = 32  # bits
_CODES, _ZEROS, _SCALES, _GROUPS = ".qweight", ".qzeros", ".scales", ".g_idx"
_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # where in its int32 each of eight neighbouring outputs lies


def check(told: Mapping[str, Any], name: str) -> None:
    """Raises ModelUnavailable for what these methods write besides."""
    bits = told.get("bits") or told.get("w_bit")
    if told.get("quant_method") == "awq":
        version = str(told.get("version", "gemm")).lower()
        if bits != 4 or version != "gemm":
            raise ModelUnavailable(
                f"of AWQ files 4 bits, version gemm, are read: those of {name} have {bits}, {version}"
            )
        return
    written = told.get("checkpoint_format") or "gptq"
    if bits not in (2, 4, 8) or written not in ("gptq", "gptq_v2"):
        raise ModelUnavailable(
            f"of GPTQ files 2, 4 or 8 bits, written as gptq or gptq_v2, are read: those of {name} have {bits}, "
            f"{written}"
        )


def plain_weights(files: Iterable[Path], told: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of the files, by their names; what is in codes, as numbers in `dtype`. Raises ModelUnavailable."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    layers = [name.removesuffix(_CODES) for name in tensors if name.endswith(_CODES)]
    for layer in tqdm(layers, f"reading {told['quant_method']}", disable=None):
        parts = {part: tensors.pop(layer + part, None) for part in (_CODES, _ZEROS, _SCALES, _GROUPS)}
        if any(parts[part] is None for part in (_CODES, _ZEROS, _SCALES)):
            raise ModelUnavailable(f"{layer} has no {_ZEROS[1:]} or no {_SCALES[1:]}: its files do not belong together")
        tensors[f"{layer}.weight"] = _numbers(parts, told).to(dtype)
    return tensors


def _numbers(parts: Mapping[str, Any], told: Mapping[str, Any]) -> Tensor:
    """float32 [out, in]"""
    scales, awq = parts[_SCALES].float(), told.get("quant_method") == "awq"  # [groups, out]
    bits = 4 if awq else int(told["bits"])
    zeros = _unpacked(parts[_ZEROS], bits)
    if awq:
        codes, zeros = _ordered(_unpacked(parts[_CODES], bits)), _ordered(zeros)
    else:
        codes = _unpacked(parts[_CODES].t(), bits).t()
        if (told.get("checkpoint_format") or "gptq") == "gptq":  # whose zeros are kept one less
            zeros = (zeros + 1) & (2**bits - 1)
    groups = parts[_GROUPS]
    if groups is None:
        groups = torch.arange(len(codes)) // -(-len(codes) // len(scales))
    groups = groups.long()
    found: Tensor = ((codes - zeros[groups]) * scales[groups]).t().contiguous()
    return found


def _unpacked(words: Tensor, bits: int) -> Tensor:
    """int32 [rows, n] to [rows, n × 32 / bits], lowest bits first."""
    shifts = torch.arange(0, _WORD, bits, dtype=torch.int32)
    found: Tensor = (words[:, :, None] >> shifts) & (2**bits - 1)
    return found.flatten(1)


def _ordered(numbers: Tensor) -> Tensor:
    eights = numbers.view(len(numbers), -1, len(_AWQ_ORDER))
    return eights[:, :, list(_AWQ_ORDER)].flatten(1)
