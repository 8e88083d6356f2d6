"""Checkpoints that come quantized: which of them transformers reads here, and what is said of the others.

What it reads becomes plain numbers. The others it would read with packages that are not part of this version, most of
them for one maker's GPUs; and without a word it would fetch kernels for some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.inference.models.wheel import ModelUnavailable

READ = ("fp8",)  # DeepSeek-V3's own: a scale for each block


def method(config: Any) -> str:
    """How the files are quantized; empty: they are not."""
    told = _told(config)
    return str(told.get("quant_method") or "a method that config.json does not name")[:40] if told else ""


def reading(config: Any, name: str, modes: Sequence[str]) -> dict[str, Any]:
    """What transformers is told beside. `modes` can be had of plain weights. Raises ModelUnavailable."""
    how = method(config)
    if not how:
        return {}
    if how not in READ:
        raise ModelUnavailable(
            f"the files of {name} are quantized by {how}, and this engine reads {', '.join(READ)} and GGUF: take the "
            f"model's plain files with STRONGROOM_INFERENCE_QUANTIZATION={' or '.join(modes)}, or "
            "STRONGROOM_INFERENCE_ENGINE=vllm, which loads what vLLM knows on its device"
        )
    from transformers import FineGrainedFP8Config

    from services.inference.models.fp8_blocks import whole_blocks

    whole_blocks()
    kept = _told(config).get("modules_to_not_convert")
    return {"quantization_config": FineGrainedFP8Config(dequantize=True, modules_to_not_convert=kept)}


def made_plain(model: Any) -> None:
    """Its weights are, so that it is not held for a quantized model when it is moved, quantized or saved."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
        model.hf_quantizer = None


def _told(config: Any) -> Mapping[str, Any]:
    told = getattr(config, "quantization_config", None) or {}
    return told if isinstance(told, Mapping) else told.to_dict()
