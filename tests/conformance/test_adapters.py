"""What every engine with adapters makes of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.adapters import CONFIG, WEIGHTS, AdapterNotServed, adapter_folder
from services.inference.engine.protocol import Engine, Work
from tests.conftest import SHAPE


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """The folder of an adapter of the tiny model's queries, as peft saves them."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path / "adapters" / "tone"
    folder.mkdir(parents=True)
    torch.manual_seed(5)
    wide, rank = SHAPE["hidden_size"], 4
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": torch.randn(*shape)
        for layer in range(SHAPE["num_hidden_layers"])
        for side, shape in (("A", (rank, wide)), ("B", (wide, rank)))
    }
    save_file(tensors, folder / WEIGHTS)
    said = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(said))
    return adapter_folder(tmp_path, "tone")


@pytest.mark.feature("adapter")
def test_a_loaded_adapter_answers_who_names_it_and_nobody_else(
    engine: Engine, work: Callable[..., Work], finish: Callable[..., dict[str, Any]], tone: Path
) -> None:
    host = engine.adapters
    assert host is not None
    with pytest.raises(AdapterNotServed):
        engine.admit(work("early", adapter="tone"))
    engine.admit(work("before", max_tokens=12))
    before = finish(engine)["before"].tokens
    info = host.load(host.read("tone", tone))
    assert (info.name, info.rank) == ("tone", 4)
    engine.admit(work("with", adapter="tone", max_tokens=12))
    engine.admit(work("without", max_tokens=12))
    told = finish(engine)
    host.unload("tone")
    assert told["without"].tokens == before != told["with"].tokens
    assert host.loaded == ()
