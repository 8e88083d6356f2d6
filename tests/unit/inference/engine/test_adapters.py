"""LoRA adapters: the answer of merged weights, beside requests that do not notice; and files that are not taken."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from services.inference.engine.adapters import (
    CONFIG,
    WEIGHTS,
    AdapterInUse,
    AdapterNotServed,
    AdapterRefused,
    adapter_folder,
)
from services.inference.engine.batch import Segment
from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_engine import TorchEngine

ALPHA = 8
LAYERS = {
    "llama": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "qwen2": ["q_proj", "k_proj", "down_proj"],
    "deepseek-v2": ["q_proj", "kv_a_proj_with_mqa", "o_proj", "down_proj"],
}
PROMPT = [number * 7 % 250 for number in range(40)]


def matrices(model: Any, names: list[str], *, seed: int, rank: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, torch.Tensor] = {}
    for path, layer in model.named_modules():
        if path.rpartition(".")[2] in names and isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            made[f"base_model.model.{path}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator) * 0.1
            made[f"base_model.model.{path}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator) * 0.1
    return made


def saved(home: Path, name: str, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    save_file(tensors, folder / WEIGHTS)
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": ALPHA, "bias": "none", "base_model_name_or_path": "firm/base"}
    (folder / CONFIG).write_text(json.dumps(said | config))
    return folder


def merged(model: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The model with W + alpha / rank · B A, as peft merges."""
    model = copy.deepcopy(model)
    for path, layer in model.named_modules():
        down = tensors.get(f"base_model.model.{path}.lora_A.weight")
        if down is not None:
            layer.weight.data += tensors[f"base_model.model.{path}.lora_B.weight"] @ down * (ALPHA / len(down))
    return model


def work(number: int, adapter: str = "", *, max_tokens: int = 14) -> Work:
    message = Message(role="user", content=f"question {number} " * (number + 1))
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    return Work(request_id=f"r{number}{adapter}", messages=(message,), sampling=sampling, adapter=adapter)


def answers(engine: TorchEngine, works: list[Work]) -> dict[str, list[int]]:
    got: dict[str, list[int]] = {one.request_id: [] for one in works}
    waiting = list(works)
    while waiting or engine.live():
        if waiting and engine.capacity().free_slots:
            engine.admit(waiting.pop(0))
        for output in engine.step():
            got[output.request_id] += output.token_ids
    return got


def load(engine: TorchEngine, home: Path, name: str) -> Any:
    return engine.adapters.load(engine.adapters.read(name, adapter_folder(home, name)))


@pytest.mark.parametrize(
    ("family", "fused"), [("llama", True), ("llama", False), ("qwen2", True), ("deepseek-v2", False)]
)
def test_answers_are_those_of_merged_weights_and_mates_without_it_change_in_no_bit(
    family: str, fused: bool, tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """Fails if `add` adds to every row of the pass, or leaves out the scale."""
    plain = tiny_model(family)
    made = {name: matrices(plain, LAYERS[family], seed=seed) for seed, name in enumerate(("one", "two"))}
    engine = tiny_engine(family, fused=fused, prefill_tokens=16)
    works = [work(0), work(0, "one"), work(1, "two"), work(1), work(2, "one"), work(2)]
    before = answers(engine, [one for one in works if not one.adapter])
    base = engine._runner.run([Segment(0, 0, PROMPT)])
    for name, tensors in made.items():
        saved(tmp_path, name, tensors)
        load(engine, tmp_path, name)
    beside = engine._runner.run([Segment(0, 0, PROMPT), Segment(1, 0, PROMPT, adapter="one")])
    assert torch.equal(beside[:1], base), "a base row has other bits beside an adapter's"
    reference = {"": plain} | {name: merged(plain, tensors) for name, tensors in made.items()}
    torch.testing.assert_close(beside[1], reference["one"](torch.tensor([PROMPT])).logits[0, -1], rtol=1e-3, atol=1e-3)
    got = answers(engine, works)
    assert {name: got[name] for name in before} == before
    for one in works:
        ids = engine._prompt.ids(one.messages)
        expected = reference[one.adapter].generate(torch.tensor([ids]), max_new_tokens=14, do_sample=False)
        assert got[one.request_id] == expected[0, len(ids) :].tolist()
    assert got["r0"] != got["r0one"], "an adapter that changes nothing shows nothing"


def test_it_is_loaded_and_unloaded_while_others_run(
    tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    engine = tiny_engine("llama")
    folder = saved(tmp_path, "one", matrices(tiny_model("llama"), ["q_proj"], seed=0))
    engine.admit(work(0, max_tokens=30))
    engine.step()
    info = load(engine, tmp_path, "one")
    whole = (folder / CONFIG).read_bytes() + (folder / WEIGHTS).read_bytes()
    assert (info.name, info.rank, info.layers) == ("one", 4, 2)
    assert info.digest == hashlib.sha256(whole).hexdigest()
    assert engine.adapters.loaded == (info,)
    engine.admit(work(1, "one", max_tokens=30))
    with pytest.raises(AdapterInUse, match="1 requests run with adapter 'one'"):
        engine.adapters.unload("one")
    with pytest.raises(AdapterRefused, match="unload it first"):
        load(engine, tmp_path, "one")
    engine.cancel("r1one")
    engine.adapters.unload("one")
    assert engine.adapters.loaded == ()
    with pytest.raises(AdapterNotServed):
        engine.admit(work(1, "one"))
    assert engine.live() == {"r0"}


def test_what_is_written_to_its_files_later_changes_no_answer(
    tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """Fails if the weights are mapped from the file: its digest is then of other numbers than those computed with."""
    tensors = matrices(tiny_model("llama"), LAYERS["llama"], seed=0)
    said = []
    for home, written in ((tmp_path / "left alone", False), (tmp_path / "written to", True)):
        weights = saved(home, "one", tensors) / WEIGHTS
        engine = tiny_engine("llama")
        load(engine, home, "one")
        if written:
            with weights.open("r+b") as file:
                file.write(bytes(weights.stat().st_size))
        said.append(answers(engine, [work(0, "one")]))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"lora_alpha": "much"}, "not a LoRA configuration"),
    ],
)
def test_what_is_not_plain_lora_is_named(
    change: dict[str, Any], said: str, tiny_engine: Callable[..., TorchEngine], tiny_model: Any, tmp_path: Path
) -> None:
    saved(tmp_path, "one", matrices(tiny_model("llama"), ["q_proj"], seed=0), **change)
    with pytest.raises(AdapterRefused, match=said):
        load(tiny_engine("llama"), tmp_path, "one")


def test_an_adapter_for_another_model_is_refused_and_says_what_differs(
    tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    engine = tiny_engine("llama")
    saved(tmp_path, "deep", matrices(tiny_model("deepseek-v2"), ["kv_a_proj_with_mqa"], seed=0))
    with pytest.raises(AdapterRefused, match=r"kv_a_proj_with_mqa.*tiny-llama.*firm/base"):
        load(engine, tmp_path, "deep")
    tensors = matrices(tiny_model("llama"), ["q_proj"], seed=0)
    wide = {key: torch.cat([each, each], dim=1) if "lora_A" in key else each for key, each in tensors.items()}
    saved(tmp_path, "wide", wide)
    with pytest.raises(AdapterRefused, match=r"q_proj of 96 × 192, tiny-llama's has 96 × 96"):
        load(engine, tmp_path, "wide")
    assert engine.adapters.loaded == ()


def test_files_that_are_damaged_are_refused(
    tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    engine = tiny_engine("llama")
    tensors = matrices(tiny_model("llama"), ["q_proj"], seed=0)
    cut = saved(tmp_path, "cut", tensors) / WEIGHTS
    cut.write_bytes(cut.read_bytes()[:-50])
    with pytest.raises(AdapterRefused, match="cut off"):
        load(engine, tmp_path, "cut")
    saved(tmp_path, "nan", {key: each * float("nan") for key, each in tensors.items()})
    with pytest.raises(AdapterRefused, match="not finite"):
        load(engine, tmp_path, "nan")
    saved(tmp_path, "huge", {key: each * 1e30 for key, each in tensors.items()})
    with pytest.raises(AdapterRefused, match="probe prompt"):
        load(engine, tmp_path, "huge")
    reference = tiny_engine("llama")
    assert answers(engine, [work(0)]) == answers(reference, [work(0)]), "what was tried has left something behind"


@pytest.mark.parametrize("name", ["../one", "", "a/b", "x" * 65, ".hidden"])
def test_a_name_that_is_a_path_is_no_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="letters"):
        adapter_folder(tmp_path, name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match=r"no adapter_config.json and no adapter_model.safetensors"):
        adapter_folder(tmp_path, "absent")


def test_a_request_keeps_its_adapter_after_a_crash(
    tiny_engine: Callable[..., TorchEngine], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    engine = tiny_engine("llama")
    saved(tmp_path, "one", matrices(tiny_model("llama"), LAYERS["llama"], seed=0))
    load(engine, tmp_path, "one")
    whole = answers(engine, [work(0, "one")])["r0one"]
    rest = answers(engine, [dataclasses.replace(work(0, "one"), emitted=tuple(whole[:5]))])["r0one"]
    assert whole[:5] + rest == whole
