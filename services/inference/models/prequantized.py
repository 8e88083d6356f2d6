"""Checkpoints that come quantized: which of them are read here, and what is said of the others.

What is read becomes plain numbers: by transformers, or by `integer_codes`. The others it would read with packages that
are not part of this version, most of them for one maker's GPUs; and without a word it would fetch kernels for some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from services.inference.models import integer_codes
from services.inference.models.bitsandbytes import library
from services.inference.models.files import Files
from services.inference.models.wheel import ModelUnavailable

READ = ("fp8", "bitsandbytes", *integer_codes.METHODS)  # the first is DeepSeek-V3's own: a scale for each block


def method(config: Any) -> str:
    """How the files are quantized; empty: they are not."""
    told = _told(config)
    how = told.get("quant_method") or "a method that config.json does not name"
    return str(getattr(how, "value", how))[:40] if told else ""


def reading(config: Any, name: str, modes: Sequence[str], files: Files | None, dtype: Any) -> dict[str, Any]:
    """What transformers is told beside. `modes` can be had of plain weights. Raises ModelUnavailable.

    With a `state_dict` among it, which has numbers in `dtype`, it reads no files, and is told no folder."""
    how = method(config)
    if not how:
        return {}
    readable = [
        each for each in READ if each != "bitsandbytes" or find_spec(each)
    ]  # not imported yet: a second or more
    if how not in readable:
        raise ModelUnavailable(
            f"the files of {name} are quantized by {how}, and this engine reads {', '.join(readable)} and GGUF: take "
            f"the model's plain files with STRONGROOM_INFERENCE_QUANTIZATION={' or '.join(modes)}, or "
            "STRONGROOM_INFERENCE_ENGINE=vllm, which loads what vLLM knows on its device"
        )
    if how in integer_codes.METHODS:
        return _of_codes(config, name, files, dtype)
    if how == "bitsandbytes":
        library()  # before transformers imports it
        return {"device_map": {"": "cpu"}}  # where its codes are read; `made_plain` turns them into numbers
    from transformers import FineGrainedFP8Config

    from services.inference.models.fp8_blocks import whole_blocks

    whole_blocks()
    kept = _told(config).get("modules_to_not_convert")
    return {"quantization_config": FineGrainedFP8Config(dequantize=True, modules_to_not_convert=kept)}


def _of_codes(config: Any, name: str, files: Files | None, dtype: Any) -> dict[str, Any]:
    if files is None:
        raise ModelUnavailable(f"{name} is quantized by {method(config)}: name a folder that has its files")
    told = _told(config)
    integer_codes.check(told, name)
    try:
        weights = integer_codes.plain_weights(files.weights, told, dtype)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ModelUnavailable(
            f"the codes of {name} cannot be read ({type(error).__name__}): its files do not belong together, copy them "
            "again"
        ) from error
    del config.quantization_config
    return {"config": config, "state_dict": weights}


def made_plain(model: Any) -> Any:
    """Its weights are, so that it is not held for a quantized model when it is moved, quantized or saved.

    Raises ModelUnavailable.
    """
    if method(model.config) == "bitsandbytes":
        _check_blocks(model)
        model = model.dequantize(dtype=model.dtype)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
        model.hf_quantizer = None
    return model


def _check_blocks(model: Any) -> None:
    """bitsandbytes 0.50.2 on a CPU takes a wrong scale where one is for the end of a row and the next one's start."""
    for path, layer in model.named_modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if state is not None and layer.in_features % state.blocksize:
            raise ModelUnavailable(
                f"{path} has {layer.in_features} inputs, no multiple of the {state.blocksize} that share a scale: "
                "bitsandbytes reads such codes wrongly on a CPU, take the model's plain files"
            )


def _told(config: Any) -> Mapping[str, Any]:
    told = getattr(config, "quantization_config", None) or {}
    return told if isinstance(told, Mapping) else told.to_dict()
