"""Forward passes: token ids in, one row of fp32 logits a request out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence as Rows
from typing import Any

import torch
from torch import Tensor

from services.inference.engine.sequence import Sequence
from services.inference.engine.torch_attention import AttentionChoice, causal_bias
from services.inference.engine.torch_slots import SlotCache, Window


class ModelRunner:
    """Runs a transformers model over the slot cache. Two shapes: one row's chunk, or one token of many rows."""

    def __init__(self, model: Any, cache: SlotCache, attention: AttentionChoice, *, context: int) -> None:
        self._model = model
        self._cache = cache
        self._attention = attention
        self._context = context
        self._device = model.device
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._keep: dict[str, int] = {}
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            self._keep = {"logits_to_keep": 1}

    def prefill(self, sequence: Sequence, count: int) -> Tensor:
        """The next `count` pending tokens of one request; logits after the last of them, [vocabulary].

        Done when it returns, on a GPU too: the prefill budget learns from how long it took.
        """
        start = sequence.cached
        positions = torch.arange(start, start + count).unsqueeze(0)
        ids = [sequence.ids(start, start + count)]
        logits = self.forward(ids, positions, slot=sequence.slot, tokens=start + count)[0]
        if logits.device.type != "cpu":
            torch.accelerator.synchronize(logits.device)
        return logits

    def decode(self, sequences: Rows[Sequence]) -> Tensor:
        """The one pending token of each; they lie in neighbouring slots. [rows, vocabulary]."""
        ids = [sequence.ids(sequence.cached, sequence.length) for sequence in sequences]
        positions = torch.tensor([[sequence.cached] for sequence in sequences])
        longest = max(sequence.length for sequence in sequences)
        return self.forward(ids, positions, slot=sequences[0].slot, tokens=longest)

    def warm_up(self, rows: int) -> None:
        """For a GPU: the cache takes its memory now, and kernels are loaded before the first request needs them."""
        self.forward([[0] * 8], torch.arange(8).unsqueeze(0), slot=0, tokens=8)
        for count in (1, rows):
            self.forward([[0]] * count, torch.zeros(count, 1, dtype=torch.long), slot=0, tokens=1)
        torch.accelerator.synchronize(self._device)

    @torch.inference_mode()
    def forward(self, ids: list[list[int]], positions: Tensor, *, slot: int, tokens: int) -> Tensor:
        """`tokens`: length of the longest row, the new ones included. Logits after each row's last token."""
        if max(map(max, ids)) >= self._vocabulary:
            raise IndexError("a token id beyond the embedding")  # on a GPU it would end the process, not the request
        view = min(-(-tokens // self._attention.view_tokens) * self._attention.view_tokens, self._context)
        start = int(positions[0, 0])
        positions = positions.to(self._device)
        self._cache.look(Window(first=slot, positions=positions, start=start, view=view))
        out = self._model(
            input_ids=torch.tensor(ids, device=self._device),
            position_ids=positions,
            attention_mask=causal_bias(positions, view, self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
            **self._keep,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits
