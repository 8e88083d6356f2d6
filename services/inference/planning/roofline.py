"""Tokens a second at most: what a step must read over the memory's rate, what it must multiply over the processor's."""

from __future__ import annotations

from dataclasses import dataclass

from services.inference.planning.architecture import Architecture, Kind
from services.inference.planning.modes import Mode, token_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One pass for `batch` requests that decode, each with `seen` tokens before it."""

    batch: int
    seen: int
    experts: float  # of a layer that are read, in expectation; 0: the model has none
    weights: int  # bytes
    cache: int  # bytes
    operations: int  # multiplications and additions

    def seconds(self, bandwidth: float, rate: float) -> float:
        """Reading and computing overlap; the longer one decides."""
        return max((self.weights + self.cache) / bandwidth, self.operations / rate if rate else 0.0)


def decode_step(model: Architecture, mode: Mode, *, batch: int, seen: int) -> Step:
    experts = expected_experts(model.experts, model.chosen, batch) if model.experts else 0.0
    routed = int(model.count(Kind.EXPERTS) * experts / model.experts) if model.experts else 0
    weights = mode.product_bytes(model.count(Kind.LINEAR) + routed, model.hidden)
    weights += mode.head_bytes(model.head, model.hidden)
    attention = 2 * model.decode_work * seen * model.layers
    return Step(
        batch=batch,
        seen=seen,
        experts=experts,
        weights=weights + model.count(Kind.PLAIN) * mode.plain_bytes,
        cache=batch * seen * token_bytes(model, mode),
        operations=batch * (2 * model.active + attention),
    )


def prefill_operations(model: Architecture, tokens: int) -> int:
    """Of a token of a prompt with so many tokens, on average: half of them lie before it. The head is for the last."""
    return 2 * (model.active - model.head) + 2 * model.prefill_work * model.layers * (tokens // 2)


def expected_experts(experts: int, chosen: int, batch: int) -> float:
    """How many a batch meets if each token's choice is uniform: 1 - (1 - k/E)^B of them."""
    return float(experts * (1 - (1 - chosen / experts) ** batch))
