"""Whether a mode fits a machine: layers over the places, what the weights leave, and the KV cache in the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.inference.engine.sizing import NoRoom, Place, Sizes, kv_sizes
from services.inference.planning.architecture import Architecture
from services.inference.planning.modes import Mode, embedding_bytes, head_bytes, layer_bytes, token_bytes

# What a worker takes beside weights and cache: Python with torch, transformers and the service (about 370 MiB), the
# tokenizer, kernels that oneDNN made, scratch. Between 413 MiB (int4) and 548 MiB (bf16) with SmolLM2 (docs/models.md).
CPU_PROCESS = 480 << 20
# Of a GPU: the driver's part, CUDA's context, kernels, recorded graphs, a chunk's activations. Set aside, unmeasured.
GPU_RESERVE = 2 << 30
# The visible part of a slot is a multiple of this (engine/torch_attention.py).
VIEW_TOKENS = {"cpu": 512, "cuda": 64}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Places of one kind: the CPU's memory, or GPUs."""

    name: str
    kind: str  # cpu or cuda
    memory: int  # bytes of each place that a worker may take
    count: int = 1
    together: int = 1  # GPUs of one machine: as far as one process reaches
    bandwidth: float = 0.0  # bytes a second of each place; 0: unknown
    rates: Mapping[str, float]  # operations a second
    source: str  # of the two

    @property
    def reserve(self) -> int:
        return CPU_PROCESS if self.kind == "cpu" else GPU_RESERVE


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The settings of a worker that decide about memory; the defaults are the engine's."""

    context: int = 2048  # 0: all that the model knows
    slots: int = 16
    share: float = 0.5  # kv_memory_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What lies in one place."""

    layers: range
    weights: int  # bytes
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    mode: Mode
    context: int  # tokens of a request
    slot: int  # the same in whole views: what it takes
    parts: tuple[Part, ...]
    sizes: Sizes | None  # None: it does not fit
    short: int = 0  # bytes that all places lack together, or one alone where the others have some to spare
    mapped: int = 0  # bytes of files that stay mapped; the kernel takes them back where memory is short

    @property
    def weights(self) -> int:
        return sum(part.weights for part in self.parts)

    @property
    def token_bytes(self) -> int:
        return sum(part.place.token_bytes for part in self.parts)

    @property
    def cache(self) -> int:
        """Bytes of the KV cache and of kept prefixes once both are full."""
        return (self.sizes.arena + self.sizes.kept) * self.token_bytes if self.sizes else 0


def fit(model: Architecture, machine: Machine, mode: Mode, asked: Asked, *, most_places: int) -> Fit:
    """On as few places as hold all that is asked; where none do, on all of them."""
    context = min(asked.context or model.context, model.context)
    best: Fit | None = None
    for count in range(1, min(most_places, model.layers) + 1):
        found = _on(model, machine, mode, asked, context, count)
        if found.sizes and found.sizes.slots >= asked.slots:
            return found
        if best is None or found.sizes or not best.sizes:
            best = found
    assert best is not None
    return best


def opened(machine: Machine, found: Fit) -> int:
    """Bytes that a CPU's worker has resident before its first request."""
    return machine.reserve + found.weights + found.mapped


def _on(model: Architecture, machine: Machine, mode: Mode, asked: Asked, context: int, count: int) -> Fit:
    view = VIEW_TOKENS[machine.kind]
    slot = -(-context // view) * view
    cuts = spread(layers_and_ends(model, mode, machine.kind), count)
    parts = tuple(_part(model, machine, mode, number, layers, weights) for number, (layers, weights) in enumerate(cuts))
    places = [part.place for part in parts if part.place.token_bytes]
    try:
        found: Sizes | None = kv_sizes(places, slots=asked.slots, slot=slot, share=asked.share)
        short = 0
    except NoRoom:
        lacks = [_needed(place, slot, asked.share) - place.free for place in places]
        unused = (count - len(parts)) * (machine.memory - machine.reserve)
        found, short = None, max(sum(lacks) - unused, *lacks)
    mapped = 0
    # Layers that are not fused are used where they lie, if they are read as they are.
    if machine.kind == "cpu" and model.latent and model.file_bytes * 8 == mode.bits:
        mapped = (model.parameters - model.head) * model.file_bytes
    return Fit(mode=mode, context=context, slot=slot, parts=parts, sizes=found, short=short, mapped=mapped)


def _needed(place: Place, slot: int, share: float) -> int:
    """Bytes free of which the share is one request's cache."""
    return -int(-slot * place.token_bytes // share)


def _part(model: Architecture, machine: Machine, mode: Mode, number: int, layers: range, weights: int) -> Part:
    return Part(
        layers=layers,
        weights=weights,
        place=Place(
            name="memory" if machine.kind == "cpu" else f"GPU {number}",
            free=machine.memory - machine.reserve - weights,
            token_bytes=token_bytes(model, mode, len(layers)) if layers else 0,
            whole_slots=machine.kind != "cpu",
        ),
    )


def layers_and_ends(model: Architecture, mode: Mode, kind: str) -> list[int]:
    """Bytes of each layer; the first has the embedding with it, the last the head."""
    sizes = [layer_bytes(model, mode, number) for number in range(model.layers)]
    sizes[0] += embedding_bytes(model, mode)
    sizes[-1] += head_bytes(model, mode, copied=kind == "cpu")
    return sizes


def spread(sizes: Sequence[int], count: int) -> list[tuple[range, int]]:
    """Layers in their order over so many places, the fullest one as empty as can be; with the bytes of each."""
    low, high = max(sizes), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(sizes, middle)) - 1 <= count else (middle + 1, high)
    cuts = _filled(sizes, low)
    return [(range(first, end), sum(sizes[first:end])) for first, end in pairwise(cuts)]


def _filled(sizes: Sequence[int], most: int) -> list[int]:
    """Where to cut so that no part has more than `most`, each part as long as it can be."""
    cuts, held = [0], 0
    for number, size in enumerate(sizes):
        if held + size > most:
            cuts.append(number)
            held = 0
        held += size
    return [*cuts, len(sizes)]
