"""What only the loaded weights show: numbers that are not finite, tensors the files lack, ids beyond the embedding."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from services.inference.models.wheel import ModelUnavailable


def check_complete(info: dict[str, Any], name: str) -> None:
    """transformers fills what is missing with random numbers and goes on: such a model answers nonsense."""
    for what, keys in (("lack", info.get("missing_keys")), ("have in another shape", info.get("mismatched_keys"))):
        if keys:
            raise ModelUnavailable(f"the files of {name} {what} {_some(keys)}: copy the model's folder again")


def check_finite(model: Any, name: str) -> int:
    """Reads each weight once; returns how many tensors were not in memory (on disk) and could not be looked at."""
    unseen = 0
    for path, tensor in model.named_parameters():
        if tensor.device.type == "meta":
            unseen += 1
        elif type(tensor) is not torch.nn.Parameter:
            continue  # a library's codes, which are no numbers
        elif tensor.is_floating_point() and not _finite(tensor):
            raise ModelUnavailable(
                f"the weight {path} of {name} holds numbers that are not finite: copy the model's folder again, or "
                "load it in a dtype that holds them (float16 ends at 65,504)"
            )
    return unseen


def check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise ModelUnavailable(
            f"the tokenizer of {name} knows token ids up to {highest}, its embedding has {rows} rows: they belong to "
            "different models, take both from one place"
        )


def _finite(tensor: torch.Tensor) -> bool:
    """Not `isfinite`, which makes a tensor as large: the least and the greatest number tell, and NaN is passed on."""
    if not tensor.numel():
        return True
    least, greatest = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(least) & torch.isfinite(greatest))


def _some(keys: Collection[Any]) -> str:
    shown = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
    return f"{len(shown)} tensors ({', '.join(shown[:3])})"
