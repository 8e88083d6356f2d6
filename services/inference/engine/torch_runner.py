"""Forward passes: token ids in, one row of fp32 logits a request out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence as Rows
from typing import Any

import torch
from torch import Tensor

from services.inference.engine.sequence import Sequence
from services.inference.engine.torch_attention import AttentionChoice, causal_bias
from services.inference.engine.torch_graphs import DecodeGraphs
from services.inference.engine.torch_slots import SlotCache, Window


class ModelRunner:
    """Runs a transformers model over the slot cache. Two shapes: one row's chunk, or one token of many rows."""

    graphs: DecodeGraphs | None = None

    def __init__(self, model: Any, cache: SlotCache, attention: AttentionChoice, *, context: int) -> None:
        self._model = model
        self._cache = cache
        self._attention = attention
        self._context = context
        self.device = model.device
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._keep: dict[str, int] = {}
        if "logits_to_keep" in inspect.signature(model.forward).parameters:
            self._keep = {"logits_to_keep": 1}

    def prefill(self, sequence: Sequence, count: int) -> Tensor:
        """The next `count` pending tokens of one request; logits after the last of them, [vocabulary].

        Done when it returns, on a GPU too: the prefill budget learns from how long it took.
        """
        start = sequence.cached
        ids = sequence.ids(start, start + count)
        self._check(ids)
        logits = self.chunk(ids, slot=sequence.slot, start=start)
        if logits.device.type != "cpu":
            torch.accelerator.synchronize(logits.device)
        return logits

    def decode(self, sequences: Rows[Sequence]) -> Tensor:
        """The one pending token of each; they lie in neighbouring slots. [rows, vocabulary]."""
        ids = [sequence.ids(sequence.cached, sequence.length)[0] for sequence in sequences]
        self._check(ids)
        positions = [sequence.cached for sequence in sequences]
        first = sequences[0].slot
        if self.graphs and not first:
            return self.graphs.decode(ids, positions)
        return self.one_each(
            self._column(ids), self._column(positions), first=first, view=self._view(max(positions) + 1)
        )

    def chunk(self, ids: list[int], *, slot: int, start: int) -> Tensor:
        """One row's tokens from position `start` on; logits after the last, [vocabulary]."""
        end = start + len(ids)
        positions = torch.arange(start, end).unsqueeze(0).to(self.device)
        window = Window(first=slot, positions=positions, start=start, view=self._view(end))
        return self._forward(torch.tensor([ids]).to(self.device), window)[0]

    def one_each(self, ids: Tensor, positions: Tensor, *, first: int, view: int) -> Tensor:
        """One token of each row from slot `first` on. Asks the device nothing, so that it can be recorded."""
        return self._forward(ids, Window(first=first, positions=positions, start=0, view=view))

    @torch.inference_mode()
    def _forward(self, ids: Tensor, window: Window) -> Tensor:
        """Logits after each row's last token."""
        self._cache.look(window)
        out = self._model(
            input_ids=ids,
            position_ids=window.positions,
            attention_mask=causal_bias(window.positions, window.view, self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
            **self._keep,
        )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _check(self, ids: list[int]) -> None:
        """On a GPU an id beyond the embedding would end the process, not its request."""
        if max(ids) >= self._vocabulary:
            raise IndexError("a token id beyond the embedding")

    def _view(self, tokens: int) -> int:
        """The visible part of the cache that holds so many."""
        return min(-(-tokens // self._attention.view_tokens) * self._attention.view_tokens, self._context)

    def _column(self, values: list[int]) -> Tensor:
        return torch.tensor(values).unsqueeze(1).to(self.device)
