"""transformers' own models, to count what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM


def _empty(config: dict[str, Any]) -> Any:
    plain = {name: value for name, value in config.items() if name not in ("quantization_config", "_source")}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(plain.pop("model_type"), **plain))


@pytest.fixture(scope="session")
def empty_model() -> Callable[[dict[str, Any]], Any]:
    """The model of a config.json, without memory for its weights."""
    return _empty
