"""A few tokens through a model as transformers runs it: its cache's layout, and logits to hold all else against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from services.inference.engine.batch import Segment
from services.inference.engine.protocol import Message
from services.inference.engine.quantization import Mode
from services.inference.engine.torch_attention import AttentionChoice
from services.inference.engine.torch_channels import TEXT, TOKENS, watched
from services.inference.engine.torch_runner import ModelRunner, Runner
from services.inference.engine.torch_slots import SlotCache
from services.inference.models.loading import LoadedModel
from services.inference.models.wheel import ModelUnavailable

_TOKENS = 8
_APART = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the largest logit: what fused layers may differ by


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    token_bytes: dict[torch.device, int]  # of the cache, over all layers, by where they lie
    page_tokens: int
    same_head_sizes: bool  # of keys and values
    logits: Tensor


def probed(loaded: LoadedModel, *, watch: bool = False) -> Probe:
    """Of a model that was saved quantized it was asked before: its weights are not there.

    `watch`: what its linear layers read is noted at each of them, for their codes.
    """
    if loaded.saved:
        told = loaded.saved.facts
        return Probe(
            token_bytes={torch.device("cpu"): told.token_bytes},
            page_tokens=told.page_tokens,
            same_head_sizes=told.same_head_sizes,
            logits=loaded.saved.logits,
        )
    sdpa = AttentionChoice(implementation="sdpa", name="sdpa", reason="probe", view_tokens=1)
    loaded.model.set_attn_implementation("sdpa")
    cache = SlotCache(loaded.model.config.num_hidden_layers, 1, _TOKENS)
    logits = ModelRunner(loaded.model, cache, sdpa, context=_TOKENS).run([_asked(loaded)])
    if watch:
        ids = loaded.prompt.ids([Message(role="user", content=TEXT)])[:TOKENS]
        with watched(loaded.model), torch.no_grad():
            loaded.model(torch.tensor([ids]), use_cache=False)
    return Probe(
        token_bytes=cache.token_bytes(),
        page_tokens=cache.page_tokens(),
        same_head_sizes=cache.same_sizes(),
        logits=logits,
    )


def agrees(runner: Runner, loaded: LoadedModel, probe: Probe, mode: Mode | None) -> None:
    """What was fused computes what transformers does, what was quantized nearly so. Raises ModelUnavailable."""
    found = runner.run([_asked(loaded)])
    bound = float(probe.logits.abs().max()) * (mode.apart if mode else _APART.get(loaded.dtype, _APART[torch.bfloat16]))
    if torch.allclose(found, probe.logits, rtol=0, atol=bound):
        return
    if mode:
        raise ModelUnavailable(
            f"quantized in {mode.name} this model's answers are too far from its own: take another mode"
        )
    raise ModelUnavailable(
        "the fused layers do not give what the model's own do: set STRONGROOM_INFERENCE_FUSED=false and report it"
    )


def _asked(loaded: LoadedModel) -> Segment:
    ids = torch.arange(_TOKENS) * 7919 % loaded.model.get_input_embeddings().num_embeddings
    return Segment(0, 0, ids.tolist())
