"""Which files make a model, and what a start says when they do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_opening import assemble
from services.inference.models.loading import LoadedModel, ModelSource, load
from services.inference.models.placement import device_map
from services.inference.models.wheel import ModelUnavailable

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "models" / "tiny"))


def opened(home: Path, model: str = "tiny", **how: Any) -> LoadedModel:
    return load(ModelSource(model=model, device="cpu", **how), home, lambda _: None)


def refused(home: Path, model: str = "tiny", **how: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        opened(home, model, **how)
    return str(caught.value)


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def test_a_folder_under_the_home_is_loaded_and_said_by_file_and_time(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    loaded = load(ModelSource(model="tiny", device="cpu"), tmp_path, said.append)
    assert (loaded.name, loaded.dtype) == ("tiny", torch.float32)
    assert said[0].startswith("model: loading 1 files, ")
    assert said[1].startswith("model: loaded in ")


@pytest.mark.parametrize("cut", [4, 100, 5000])
def test_a_truncated_safetensors_file_is_named(folder: Path, tmp_path: Path, cut: int) -> None:
    """Fails if `_check_safetensors` looks at the header alone."""
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) - cut] if cut > 4 else whole[:cut])
    assert "model.safetensors" in refused(tmp_path) and "copy the model's folder again" in refused(tmp_path)


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    assert "lacks 1 of 2 files (model-00002-of-00002.safetensors)" in refused(tmp_path)


def test_a_tensor_that_the_files_lack_is_not_made_up(folder: Path, tmp_path: Path) -> None:
    """Fails if `check_complete` is not called: transformers fills it with random numbers."""
    changed(folder, lambda tensors: tensors.__delitem__("model.layers.1.mlp.up_proj.weight"))
    assert "lack 1 tensors (model.layers.1.mlp.up_proj.weight)" in refused(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(folder: Path, tmp_path: Path, number: float) -> None:
    """Fails if `_finite` looks at the sum of a tensor or at its mean."""
    changed(folder, lambda tensors: tensors["model.layers.0.self_attn.q_proj.weight"].__setitem__((3, 5), number))
    assert "model.layers.0.self_attn.q_proj.weight of tiny" in refused(tmp_path)


def test_a_type_that_transformers_does_not_know_is_named(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "colossus"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "'colossus'" in refused(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path, tiny_tokenizer: Any) -> None:
    other = json.loads((folder / "tokenizer.json").read_text())
    other["added_tokens"].append(other["added_tokens"][-1] | {"id": 400, "content": "<|far|>"})
    (folder / "tokenizer.json").write_text(json.dumps(other))
    assert "the embedding has 259 rows" in refused(tmp_path) or "its embedding has 259 rows" in refused(tmp_path)


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    assert "has no model.safetensors" in refused(tmp_path)


# GGUF


def gguf_file(path: Path, architecture: str = "llama") -> None:
    """A llama with random weights, its tokens the bytes."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    hidden, inner, vocabulary = 64, 128, 300
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(vocabulary)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{n:02X}>" for n in range(256)] + [f"t{n}" for n in range(41)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * vocabulary)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 41)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    random = numpy.random.default_rng(0)
    shapes = {
        "attn_q": (hidden, hidden), "attn_k": (32, hidden), "attn_v": (32, hidden), "attn_output": (hidden, hidden),
        "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner),
        "attn_norm": (hidden,), "ffn_norm": (hidden,),
    }  # fmt: skip
    tensors = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {"token_embd.weight": (vocabulary, hidden), "output.weight": (vocabulary, hidden)}
    tensors |= {"output_norm.weight": (hidden,)}
    for name, shape in tensors.items():
        writer.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_is_loaded_by_its_path_and_by_its_folder_with_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    gguf_file(folder / "small-f32.gguf")
    loaded = opened(tmp_path, "small")
    by_path = opened(tmp_path, str(folder / "small-f32.gguf"))
    assert (loaded.name, by_path.name) == ("small", "small-f32")
    assert loaded.prompt.ids([Message(role="user", content="hi")])
    engine = assemble(by_path, EngineSettings(slots=1, context_tokens=256))
    engine.admit(
        Work(
            request_id="r",
            messages=(Message(role="user", content="hi"),),
            sampling=Sampling(temperature=0.0, max_tokens=3),
        )
    )
    while engine.live():
        outputs = engine.step()
    assert outputs[-1].failure is None


def test_a_gguf_of_an_architecture_that_transformers_does_not_read_is_named(tmp_path: Path) -> None:
    gguf_file(tmp_path / "v2.gguf", "deepseek2")
    said = refused(tmp_path, str(tmp_path / "v2.gguf"))
    assert "'deepseek2'" in said and "safetensors" in said


@pytest.mark.parametrize("kept", [0, 10, 3000, 0.5, 0.99])
def test_a_truncated_gguf_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.gguf"
    gguf_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 or not kept else len(whole) * kept)])
    assert "cut.gguf" in refused(tmp_path, str(path))


def test_of_several_gguf_files_one_must_be_named(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    assert "a.gguf, b.gguf" in refused(tmp_path, str(tmp_path))


# Placement


@pytest.mark.parametrize("word", ["", "auto", "balanced", "balanced_low_0", "sequential"])
def test_the_words_of_device_map_are_taken(word: str) -> None:
    assert device_map(word) == (word or None)


@pytest.mark.parametrize(
    "asked", ["everywhere", "{", "[]", "{}", '{"": -1}', '{"": true}', '{"": "tape"}', '{"": 1.5}']
)
def test_a_device_map_that_means_nothing_is_refused_before_anything_is_loaded(asked: str) -> None:
    with pytest.raises(ValueError, match=r"^device_map must be auto, balanced, .* or JSON that maps layers"):
        EngineSettings(device_map=asked)


@pytest.mark.parametrize("where", ["auto", '{"": "cpu"}', "offloaded"])
def test_answers_do_not_depend_on_where_layers_lie(
    where: str, folder: Path, tmp_path: Path, tiny_model: Callable[[str], Any]
) -> None:
    placed = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk"}
    placed |= dict.fromkeys(("model.norm", "model.rotary_emb", "lm_head"), "cpu")
    loaded = opened(tmp_path, device_map=json.dumps(placed) if where == "offloaded" else where)
    engine = assemble(loaded, EngineSettings(slots=2, context_tokens=600))
    message = Message(role="user", content="where am I")
    engine.admit(Work(request_id="r", messages=(message,), sampling=Sampling(temperature=0.0, max_tokens=8)))
    got: list[int] = []
    while engine.live():
        got += [token for output in engine.step() for token in output.token_ids]
    ids = loaded.prompt.ids([message])
    expected = tiny_model("llama").generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)
    assert got == expected[0, len(ids) :].tolist()


def test_a_device_map_that_names_no_layer_of_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device_map must be of layers that the model has, and 'encoder' is none"):
        opened(tmp_path, device_map='{"": "cpu", "encoder": "cpu"}')
