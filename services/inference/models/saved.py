"""A quantized model in a folder of its own: codes and scales, what stays as it is, and what a start must know of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.initialization import no_init_weights

from services.inference.models.wheel import ModelUnavailable

MARKER = "strongroom-quantized.json"
WEIGHTS = "model.safetensors"
_FORMAT = 3
_PLAIN = "plain."  # before the names of tensors that stay as they are
_LOGITS = "probe.logits"
_NOT_COPIED = (".safetensors", ".gguf", ".bin", ".safetensors.index.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the model said while its weights were there."""

    mode: str
    dtype: str
    fused: bool  # it runs in the fused layers
    token_bytes: int
    page_tokens: int
    same_head_sizes: bool
    parameters: int
    revision: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    facts: Facts
    codes: dict[str, Tensor]
    logits: Tensor


def facts(folder: Path) -> Facts | None:
    """None: nothing that was saved quantized. Raises ModelUnavailable."""
    try:
        told = json.loads((folder / MARKER).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        told = {}
    if not isinstance(told, dict) or told.pop("format", None) != _FORMAT:
        raise ModelUnavailable(f"{MARKER} of {folder.name} is of another version, or damaged: quantize the model again")
    try:
        return Facts(**told)
    except TypeError:
        raise ModelUnavailable(f"{MARKER} of {folder.name} is damaged: quantize the model again") from None


def write(target: Path, source: Path, told: Facts, *, codes: dict[str, Tensor], plain: dict[str, Tensor], logits: Tensor
) -> None:  # fmt: skip
    """The folder appears whole or not at all, in the place of an older one."""
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for file in source.iterdir():
            if file.is_file() and not file.name.endswith(_NOT_COPIED):
                shutil.copy(file, work / file.name)
        _plain_config(work / "config.json")
        tensors = codes | {_PLAIN + name: tensor for name, tensor in plain.items()} | {_LOGITS: logits}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / WEIGHTS)
        (work / MARKER).write_text(json.dumps({"format": _FORMAT, **asdict(told)}, indent=2) + "\n")
        if target.exists():
            shutil.rmtree(target)
        os.rename(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _plain_config(file: Path) -> None:
    """Of files that came quantized: it is not how these are."""
    told = json.loads(file.read_text())
    if told.pop("quantization_config", None):
        file.write_text(json.dumps(told, indent=2) + "\n")


def read(folder: Path, told: Facts) -> tuple[Any, Saved]:
    """A transformers model with all but the quantized weights, and those. Raises ModelUnavailable."""
    # Here: the vllm engine's environment has no accelerate, and reads no such folder.
    from accelerate import init_empty_weights  # type: ignore[import-untyped, unused-ignore]

    dtype = getattr(torch, told.dtype)
    with init_empty_weights(include_buffers=False), no_init_weights():
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.from_pretrained(folder), dtype=dtype
        )
    with safe_open(folder / WEIGHTS, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    plain = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_PLAIN)}
    logits = tensors.pop(_LOGITS)
    for name, tensor in plain.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelUnavailable(
                f"{name} of {folder.name} holds numbers that are not finite: quantize the model again"
            )
    unknown = model.load_state_dict(
        {name.removeprefix(_PLAIN): tensor for name, tensor in plain.items()}, strict=False, assign=True
    ).unexpected_keys
    if unknown:
        raise ModelUnavailable(f"{folder.name} is not what its config.json says: quantize the model again")
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, Saved(facts=told, codes=tensors, logits=logits)
