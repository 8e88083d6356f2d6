"""Forward passes: token ids in, rows of fp32 logits out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence as Rows
from typing import Any, Protocol

import torch
from torch import Tensor

from services.inference.engine.batch import Segment
from services.inference.engine.torch_adapters import AdapterSet
from services.inference.engine.torch_attention import AttentionChoice
from services.inference.engine.torch_graphs import DecodeGraphs
from services.inference.engine.torch_slots import SlotCache, Window
from services.inference.engine.torch_windows import Masks


class Runner(Protocol):
    """What takes a pass through a model."""

    @property
    def embedding(self) -> Tensor: ...  # [vocabulary, hidden]

    mixes: bool  # it takes segments of all kinds in one pass: several tokens of a row cost no pass of their own

    def run(self, segments: Rows[Segment]) -> Tensor:
        """Logits as the segments want them, one row after the other, [wanted, vocabulary] in fp32.

        Done when it returns, on a GPU too: the prefill budget learns from how long it took. Raises IndexError for a
        token id beyond the embedding; what torch raises leaves the cache as good as before, written positions aside.
        """
        ...

    def follow(self, adapters: AdapterSet) -> None:
        """From now on segments may name these adapters. Called again when one was put in or taken out."""
        ...


class ModelRunner:
    """Runs a transformers model over the slot cache, by two shapes: one row's chunk, or one token of many rows."""

    mixes = False
    graphs: DecodeGraphs | None = None
    _adapters: AdapterSet | None = None

    def __init__(self, model: Any, cache: SlotCache, attention: AttentionChoice, *, context: int) -> None:
        self._model = model
        self._cache = cache
        self._attention = attention
        self._context = context
        self.device = model.device
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._hooks: list[Any] = []
        self._masks = Masks(model.config)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def embedding(self) -> Tensor:
        weight: Tensor = self._model.get_input_embeddings().weight
        return weight

    def follow(self, adapters: AdapterSet) -> None:
        """By hooks on the layers that an adapter changes, and no others."""
        self._adapters = adapters
        for hook in self._hooks:
            hook.remove()
        modules = dict(self._model.named_modules())
        self._hooks = [
            modules[path].register_forward_hook(lambda _, taken, out, path=path: _added(adapters, path, taken[0], out))
            for path in adapters.targets
        ]

    def _look(self, names: list[str]) -> bool:
        return self._adapters is not None and self._adapters.look(names)

    def run(self, segments: Rows[Segment]) -> Tensor:
        for segment in segments:
            self._check(segment.ids)
        rows = [segment for segment in segments if segment.decodes]
        found = dict(zip(map(id, rows), self._decode(rows), strict=True)) if rows else {}
        found |= {id(segment): self._chunk(segment) for segment in segments if not segment.decodes}
        logits = [row for segment in segments for row in found[id(segment)].reshape(-1, self._vocabulary)]
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return torch.stack(logits) if logits else torch.empty(0, self._vocabulary)

    def _decode(self, rows: Rows[Segment]) -> Tensor:
        """The rows lie in neighbouring slots, the first one's the lowest. [rows, vocabulary]."""
        ids, positions = [row.ids[0] for row in rows], [row.start for row in rows]
        first = rows[0].slot
        assert [row.slot for row in rows] == list(range(first, first + len(rows))), "decoding rows lie apart"
        adapted = self._look([row.adapter for row in rows])
        if self.graphs and not first and not adapted:  # a recorded pass knows no adapters
            return self.graphs.decode(ids, positions)
        return self.one_each(
            self._column(ids), self._column(positions), first=first, view=self._view(max(positions) + 1)
        )

    def _chunk(self, segment: Segment) -> Tensor:
        self._look([segment.adapter] * len(segment.ids))
        logits = self.chunk(list(segment.ids), slot=segment.slot, start=segment.start, keep=max(segment.logits, 1))
        return logits[len(logits) - segment.logits :]

    def chunk(self, ids: list[int], *, slot: int, start: int, keep: int = 1) -> Tensor:
        """One row's tokens from position `start` on; logits after the last `keep`, [keep, vocabulary]."""
        end = start + len(ids)
        positions = torch.arange(start, end).unsqueeze(0).to(self.device)
        window = Window(first=slot, positions=positions, start=start, view=self._view(end))
        return self._forward(torch.tensor([ids]).to(self.device), window, keep)[0]

    def one_each(self, ids: Tensor, positions: Tensor, *, first: int, view: int) -> Tensor:
        """One token of each row from slot `first` on. Asks the device nothing, so that it can be recorded."""
        return self._forward(ids, Window(first=first, positions=positions, start=0, view=view), 1)[:, 0]

    @torch.inference_mode()
    def _forward(self, ids: Tensor, window: Window, keep: int) -> Tensor:
        """Logits after each row's last `keep` tokens, [rows, keep, vocabulary]."""
        self._cache.look(window)
        out = self._model(
            input_ids=ids,
            position_ids=window.positions,
            attention_mask=self._masks.of(window.positions, window.view, self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
            **({"logits_to_keep": keep} if self._keeps else {}),
        )
        logits: Tensor = out.logits[:, -keep:].float()
        return logits

    def _check(self, ids: Rows[int]) -> None:
        """On a GPU an id beyond the embedding would end the process, not its request."""
        if max(ids) >= self._vocabulary:
            raise IndexError("a token id beyond the embedding")

    def _view(self, tokens: int) -> int:
        """The visible part of the cache that holds so many."""
        return min(-(-tokens // self._attention.view_tokens) * self._attention.view_tokens, self._context)

    def _column(self, values: list[int]) -> Tensor:
        return torch.tensor(values).unsqueeze(1).to(self.device)


def _added(adapters: AdapterSet, path: str, x: Tensor, y: Tensor) -> Tensor:
    return adapters.add(path, x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])).view(y.shape)
