"""The KV cache: fixed slots over transformers' public cache interface."""

from __future__ import annotations

import ctypes
import math
import mmap
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What one forward pass sees: slots first..first+rows-1, each row's new positions, the visible part."""

    first: int
    positions: Tensor  # [rows, queries]
    start: int  # position of the first query when there is one row
    view: int


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that cost memory when written: on CPU `torch.zeros` makes every page resident at once.

    Private pages: of shared ones even a look at what was never written would take memory.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, max(math.prod(shape) * dtype.itemsize, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)  # one write would take 2 MiB
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(shape)).view(shape)


def give_back(store: Tensor) -> None:
    """Frees the pages that lie wholly in this contiguous part of `zeros`; they are zeros again."""
    start, end = store.data_ptr(), store.data_ptr() + store.nbytes
    start, end = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start and _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED):
        raise OSError(ctypes.get_errno(), "madvise")


def give_back_freed() -> None:
    """What was freed and lies in the C library's own heaps: of small matrices, packed one by one, as much as is packed
    (SmolLM2 in bf16: 213 MiB of 1,026)."""
    with suppress(AttributeError):  # a C library that is not glibc
        _libc.malloc_trim(0)


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """[slots, heads, context, size]; made from the first keys it sees, so any layout works, a compressed one too."""

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, slots: int, context: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots, self._context = slots, context
        self.window: Window | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        sizes = [key_states.shape[3], value_states.shape[3]]
        if key_states.shape[1] == value_states.shape[1] == 1 and sizes[0] != sizes[1]:
            # Latents and their rotated part: halves of one tensor, so that attention reads both as one matrix.
            both = zeros((self._slots, 1, self._context, sum(sizes)), key_states.dtype, key_states.device)
            self.keys, self.values = torch.split(both, sizes, dim=3)
            self.is_initialized = True
            return
        self.keys, self.values = (
            zeros((self._slots, new.shape[1], self._context, new.shape[3]), new.dtype, new.device)
            for new in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, store: Tensor, new: Tensor) -> Tensor:
        window = self.window
        assert window is not None
        rows, _, queries, _ = new.shape
        slots = store[window.first : window.first + rows]
        if queries > 1:
            slots[0, :, window.start : window.start + queries] = new[0]
        else:  # one position a row
            places = window.positions[:, 0].to(store.device)  # a model on several GPUs has layers elsewhere
            slots[torch.arange(rows, device=store.device), :, places] = new[:, :, 0]
        return slots[:, :, : window.view]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (self.window.view if self.window else 0), 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self._context


class SlotCache(Cache):
    """All layers' slots. Stale contents are finite and masked; `clear` is for a row that was not."""

    def __init__(self, layers: int, slots: int, context: int) -> None:
        self._slot_layers = [SlotLayer(slots, context) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def prepare(self, keys: Tensor, values: Tensor) -> None:
        """Makes every layer's store, by the shape of keys and values as `SlotLayer.update` is given them."""
        for layer in self._slot_layers:
            layer.lazy_initialization(keys, values)

    def stored(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's whole keys and values, [slots, heads, context, size] each."""
        return self._slot_layers[layer].keys, self._slot_layers[layer].values

    def look(self, window: Window) -> None:
        for layer in self._slot_layers:
            layer.window = window

    def stores(self) -> list[Tensor]:
        """Keys and values of every layer."""
        return [store for layer in self._slot_layers if layer.is_initialized for store in (layer.keys, layer.values)]

    @torch.inference_mode()
    def move(self, source: int, target: int, tokens: int) -> None:
        for store in self.stores():
            store[target, :, :tokens] = store[source, :, :tokens]

    @torch.inference_mode()
    def swap(self, one: int, other: int, tokens: int) -> None:
        for store in self.stores():
            kept = store[one, :, :tokens].clone()
            store[one, :, :tokens] = store[other, :, :tokens]
            store[other, :, :tokens] = kept

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        for store in self.stores():
            store[slot].zero_()
            if store.device.type == "cpu":
                give_back(store[slot])

    @torch.inference_mode()
    def give_back(self, slot: int, tokens: int) -> None:
        """Of a cache on the CPU: frees what the slot holds from that token on."""
        for store in self.stores():
            if not tokens:
                give_back(store[slot])
                continue
            for head in store[slot]:
                give_back(head[tokens:])

    def page_tokens(self) -> int:
        """Tokens of one head that share a page: memory comes and goes by so many."""
        return max(max(mmap.PAGESIZE // (store.shape[3] * store.itemsize), 1) for store in self.stores())

    def token_bytes(self) -> dict[torch.device, int]:
        """Bytes that one token takes over all layers, by where they lie; needs one forward pass before."""
        taken: dict[torch.device, int] = {}
        for store in self.stores():
            taken[store.device] = taken.get(store.device, 0) + store.shape[1] * store.shape[3] * store.itemsize
        return taken

    def same_sizes(self) -> bool:
        return all(
            layer.keys.shape[-1] == layer.values.shape[-1] and layer.keys.shape[1] == layer.values.shape[1]
            for layer in self._slot_layers
        )
