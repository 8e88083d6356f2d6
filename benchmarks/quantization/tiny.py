"""A small Llama, taught to add numbers of two digits: a task for weights that nobody quantized before."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from services.inference.engine.batch import Segment
from services.inference.engine.torch_dense import DenseDecoder
from services.inference.engine.torch_quantized import packing_of
from services.inference.engine.torch_slots import SlotCache

VOCABULARY = 12  # ten digits, plus, equals
PLUS, EQUALS = 10, 11
CONTEXT = 16
STEPS, BATCH, ASKED = 1500, 256, 400
TOGETHER = 50  # sums in a pass


def digits(number: int, count: int) -> list[int]:
    return [int(digit) for digit in str(number).zfill(count)]


def sums(count: int, seed: int) -> torch.Tensor:
    """[count, 9]: aa+bb=cccc with the sum's digits from the last on, as it is added by hand."""
    chance = torch.Generator().manual_seed(seed)
    pairs = torch.randint(0, 100, (count, 2), generator=chance).tolist()
    return torch.tensor(
        [[*digits(one, 2), PLUS, *digits(other, 2), EQUALS, *digits(one + other, 3)[::-1]] for one, other in pairs]
    )


def trained(kept: Path, seed: int = 1) -> Any:
    """Taught now, if `kept` is not there to read it from."""
    model = _untaught(seed)
    if kept.is_file():
        model.load_state_dict(torch.load(kept, weights_only=True))
    else:
        _teach(model)
        torch.save(model.state_dict(), kept)
    return model.eval().requires_grad_(False)


def _untaught(seed: int) -> Any:
    torch.manual_seed(seed)
    config = hf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
    )  # fmt: skip
    return hf.LlamaForCausalLM(config)


def _teach(model: Any) -> None:
    steps = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    slower = torch.optim.lr_scheduler.OneCycleLR(steps, max_lr=2e-3, total_steps=STEPS)
    for step in range(STEPS):
        told = sums(BATCH, seed=1000 + step)
        logits = model(told).logits[:, 5:-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), told[:, 6:].flatten())
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
        slower.step()


def score(model: Any, dtype: torch.dtype, mode: str) -> float:
    """Share of unseen sums of which all digits are right."""
    held = copy.deepcopy(model).to(dtype)
    cache = SlotCache(held.config.num_hidden_layers, TOGETHER, CONTEXT)
    decoder = DenseDecoder(held, cache, context=CONTEXT, packing=packing_of(mode))
    asked = sums(ASKED, seed=7).tolist()
    right = 0
    for first in range(0, ASKED, TOGETHER):
        rows = asked[first : first + TOGETHER]
        told = [row[:6] for row in rows]
        for _ in range(3):
            logits = decoder.run([Segment(slot, 0, ids) for slot, ids in enumerate(told)])
            told = [[*ids, int(each.argmax())] for ids, each in zip(told, logits, strict=True)]
        right += sum(ids == row for ids, row in zip(told, rows, strict=True))
    return right / ASKED
