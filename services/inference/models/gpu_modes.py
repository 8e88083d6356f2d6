"""Quantization on a GPU: what transformers is told of each mode, as its layers' weights are loaded.

By documented interfaces of transformers, bitsandbytes and torchao alone; none of it was ever run on a GPU. Experts of
mixtures are fused, and neither library touches those: such models are refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

from services.inference.models.bitsandbytes import library

# The head for quality's sake; `kv_b_proj` is absorbed by heads (engine/torch_mla.py). As patterns of whole names.
_LEFT = ("lm_head", r".*\.kv_b_proj")
_GROUP = 32  # weights of a row that share a scale, in int4
_EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")  # in config.json, by family


def configuration(mode: str, dtype: torch.dtype) -> Any:
    """For `from_pretrained`. Activation scales are each row's own, so that who shares a batch changes none."""
    left = list(_LEFT)
    if mode in ("int8", "nf4"):
        library()  # before transformers imports it
    told: Any = BitsAndBytesConfig
    if mode == "int8":
        # With a threshold, columns that any row of the batch makes outliers are multiplied apart for all of them.
        return told(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=left)
    if mode == "nf4":
        return told(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=left
        )
    torchao: Any = importlib.import_module("torchao.quantization")
    if mode == "int4":  # torch's own product (tinygemm); the other layouts want a package more
        how = torchao.Int4WeightOnlyConfig(group_size=_GROUP, int4_packing_format="tile_packed_to_4d")
    else:
        how = torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow())
    return TorchAoConfig(how, modules_to_not_convert=left)


def has_experts(config: Mapping[str, Any]) -> bool:
    return any(config.get(name) for name in _EXPERTS)
