"""LoRA beside the model's own layers: y += scale · (x Aᵀ) Bᵀ, on the rows of the requests that asked for it alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from services.inference.engine.adapters import (
    MAX_ADAPTERS,
    MAX_RANK,
    WEIGHTS,
    AdapterConfig,
    AdapterFiles,
    AdapterInfo,
    AdapterNotServed,
    AdapterRefused,
    plain_lora,
)

_PREFIX = "base_model.model."
_NOT_BY_TOKEN = ("lm_head", "kv_b_proj")  # they are run on other rows than the pass's tokens
_ROW_GRAIN = 4  # rows of a matrix product come in fours: then a row's bits depend on nothing but the row


@dataclass(frozen=True, slots=True)
class LowRank:
    """One layer's two matrices. The scale is in the second."""

    down: Tensor  # [rank, in]
    up: Tensor  # [out, rank]

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] to [rows, out]."""
        rows = nn.functional.pad(x, (0, 0, 0, -len(x) % _ROW_GRAIN))
        return nn.functional.linear(nn.functional.linear(rows, self.down), self.up)[: len(x)]


@dataclass(frozen=True, slots=True)
class Adapter:
    info: AdapterInfo
    layers: Mapping[str, LowRank]  # by the module's path in the model


@dataclass(frozen=True, slots=True)
class Shape:
    """What an adapter must fit: [out, in] of each linear layer, by its path; and where they lie."""

    linears: Mapping[str, tuple[int, int]]
    dtype: torch.dtype
    device: torch.device
    model: str  # its name, for messages

    @staticmethod
    def of(model: nn.Module, name: str) -> Shape:
        """Asked before layers are fused or packed away."""
        layers = {
            path: layer
            for path, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and path.rpartition(".")[2] not in _NOT_BY_TOKEN
        }
        first = next(iter(layers.values())).weight
        linears = {path: (layer.out_features, layer.in_features) for path, layer in layers.items()}
        device = torch.device("cpu") if first.is_meta else first.device  # where a quantized model's weights are not
        dtype = next(part.dtype for part in model.parameters() if part.is_floating_point())  # codes have another
        return Shape(linears, dtype, device, name)


class AdapterSet:
    """The loaded adapters of one model, and whose rows of the present pass are theirs. Owned by the engine's thread.

    A runner calls `look` before a pass and `add` after each linear layer. Base rows are not touched at all.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._loaded: dict[str, Adapter] = {}
        self._rows: dict[str, Tensor] = {}  # of the pass, by adapter
        self._within: dict[str, Tensor] = {}  # the same, counted among the rows that have an adapter
        self.rows = torch.empty(0, dtype=torch.long)  # of the pass, those that have an adapter

    def __contains__(self, name: str) -> bool:
        return name in self._loaded

    @property
    def infos(self) -> tuple[AdapterInfo, ...]:
        return tuple(adapter.info for adapter in self._loaded.values())

    @property
    def targets(self) -> frozenset[str]:
        """Paths of the layers that some adapter changes."""
        return frozenset(path for adapter in self._loaded.values() for path in adapter.layers)

    def read(self, name: str, folder: Path) -> Adapter:
        """Any thread. Raises AdapterRefused."""
        try:
            files = AdapterFiles.read(folder)
        except OSError:
            raise AdapterRefused(f"adapter {name} cannot be read: see to its files and their modes") from None
        config = plain_lora(files.config)
        try:
            tensors = load(files.weights)  # by file they would follow what is written to it
        except SafetensorError:
            raise AdapterRefused(
                f"{WEIGHTS} of adapter {name} is cut off or no safetensors file: copy it again"
            ) from None
        return fitted(name, files.digest, config, tensors, self._shape)

    def put(self, adapter: Adapter) -> None:
        if len(self._loaded) >= MAX_ADAPTERS and adapter.info.name not in self._loaded:
            raise AdapterRefused(f"{MAX_ADAPTERS} adapters are loaded: unload one first", str(MAX_ADAPTERS))
        self._loaded[adapter.info.name] = adapter

    def drop(self, name: str) -> None:
        if name not in self._loaded:
            raise AdapterNotServed(name)
        del self._loaded[name]

    def delta(self, layer: str, x: Tensor, name: str) -> Tensor | None:
        """What the adapter adds to the layer's output for these rows; None: it leaves this layer alone."""
        low_rank = self._loaded[name].layers.get(layer)
        return None if low_rank is None else low_rank(x)

    def look(self, names: Sequence[str]) -> bool:
        """Which adapter each row of the coming pass has, "" for none. True: some row has one."""
        places = [row for row, name in enumerate(names) if name]
        self._rows = {
            name: torch.tensor([row for row in places if names[row] == name]) for name in sorted(set(names) - {""})
        }
        self._within = {
            name: torch.tensor([n for n, row in enumerate(places) if names[row] == name]) for name in self._rows
        }
        self.rows = torch.tensor(places, dtype=torch.long)
        return bool(places)

    def add(self, layer: str, x: Tensor, y: Tensor, *, within: bool = False) -> Tensor:
        """The layer's output `y` with what adapters add to their rows; `y` itself where there are none.

        `within`: x and y are only the rows of `rows`, not the whole pass.
        """
        for name, rows in (self._within if within else self._rows).items():
            places = rows.to(y.device)
            added = self.delta(layer, x[places], name)
            if added is not None:
                y = y.index_add(0, places, added)
        return y


def fitted(name: str, file_digest: str, config: AdapterConfig, tensors: Mapping[str, Tensor], shape: Shape) -> Adapter:
    """Raises AdapterRefused, naming the first thing that does not fit the model."""
    layers = {path: _low_rank(name, path, config, tensors, shape) for path in _paths(name, tensors)}
    if not layers:
        raise AdapterRefused(f"{WEIGHTS} of adapter {name} holds no layers: save the adapter again")
    info = AdapterInfo(
        name=name,
        digest=file_digest,
        rank=max(len(layer.down) for layer in layers.values()),
        layers=len(layers),
        parameters=sum(layer.down.numel() + layer.up.numel() for layer in layers.values()),
    )
    return Adapter(info, layers)


def _paths(name: str, tensors: Iterable[str]) -> list[str]:
    paths = set()
    for key in tensors:
        path, found, _ = key.removeprefix(_PREFIX).partition(".lora_")
        if not found or not key.endswith((".lora_A.weight", ".lora_B.weight")):
            raise AdapterRefused(f"adapter {name} holds {key[:120]!r}, which is no LoRA matrix of a linear layer")
        paths.add(path)
    return sorted(paths)


def _low_rank(name: str, path: str, config: AdapterConfig, tensors: Mapping[str, Tensor], shape: Shape) -> LowRank:
    made_for = f" (it says it is made for {config.base_model[:80]!r})" if config.base_model else ""
    if path not in shape.linears:
        raise AdapterRefused(
            f"adapter {name} changes {path[:120]!r}, which is no linear layer that adapters can change in "
            f"{shape.model}{made_for}: load one that was trained for this model"
        )
    pair = [tensors.get(f"{_PREFIX}{path}.lora_{side}.weight") for side in "AB"]
    down, up = pair
    if down is None or up is None or down.ndim != 2 or up.ndim != 2:
        raise AdapterRefused(f"adapter {name} lacks one of the two matrices of {path}: save it again")
    rank, (outputs, inputs) = len(down), shape.linears[path]
    if tuple(down.shape) != (rank, inputs) or tuple(up.shape) != (outputs, rank):
        raise AdapterRefused(
            f"adapter {name} is for a layer {path} of {up.shape[0]} × {down.shape[1]}, {shape.model}'s has "
            f"{outputs} × {inputs}{made_for}: load one that was trained for this model"
        )
    if not 1 <= rank <= MAX_RANK:
        raise AdapterRefused(f"adapter {name} has rank {rank}: at most {MAX_RANK} runs", str(MAX_RANK))
    if not (torch.isfinite(down).all() and torch.isfinite(up).all()):
        raise AdapterRefused(f"adapter {name} holds numbers that are not finite in {path}: train it again")
    scaled = up.float() * config.scale(rank)
    return LowRank(down.to(shape.device, shape.dtype), scaled.to(shape.device, shape.dtype))
