"""Linear layers' input channels, of which a few are far larger than others in every row: factors that even them out.

What is taken off an activation is put on its weights, as SmoothQuant does (arXiv 2211.10438). Powers of two, so that
both stay exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

TOKENS = 128  # of the text, at most
# What a model is shown, as a user's message. The large channels are its own: which text shows them hardly matters.
TEXT = (
    "Please compare the two offers below and say which one costs less over five years, with your reasons.\n"
    "1. A fixed rate of 3.75 % on 250,000 euros, paid back monthly.\n"
    "2. 一笔浮动利率贷款，起始年利率为百分之三点二，每年最多上调半个百分点。\n"
    'def monthly(sum, rate, years):\n    return sum * rate / (1 - (1 + rate) ** -(12 * years))  # "annuity"\n'
    "Nobody in the office had seen the letter before Tuesday; it was lying under a pile of old maps."
)
_LEAST, _MOST = -3, 10  # exponents of two: a channel that slept is not made much larger
_TINY = 1e-10
# Of a layer's inputs, what rounding to bytes takes from them, as a share of their square: beyond it they have two.
_ROUGH = 1e-3
_STEPS = 127


@contextmanager
def watched(model: nn.Module) -> Iterator[None]:
    """While it lasts each linear layer notes what share its input channels have in their rows, under `shares`."""
    layers = [(name, layer) for name, layer in model.named_modules() if type(layer) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(_note) for _, layer in layers]
    hooks += [layer.register_forward_pre_hook(_weigh) for name, layer in layers if name.endswith("down_proj")]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def factors(*layers: Any) -> Tensor | None:
    """[in], to divide by what these layers read, all the same, and to multiply their weights with.

    The square root of how large a channel is in the inputs over how large it is in the weights, which rounding takes
    least from both. None: nobody watched them.
    """
    seen: Tensor | None = getattr(layers[0], "shares", None)
    if seen is None:
        return None
    weights = torch.stack([layer.weight.detach().float().square().mean(0) for layer in layers]).mean(0)
    uneven = (seen.clamp_min(_TINY).log2() - weights.clamp_min(_TINY).log2()) / 4  # of squares: half, and half again
    return (uneven - uneven.mean()).round_().clamp_(_LEAST, _MOST).exp2_()


def crowded(layer: Any) -> bool:
    """Evened out, too, some inputs stand out in their rows so far that a byte is too rough for all others; or nobody
    watched."""
    found: bool = getattr(layer, "crowded", True)
    return found


def _note(layer: Any, taken: tuple[Tensor, ...]) -> None:
    """A row's own size does not count, as its codes do not know it."""
    x = taken[0].detach().reshape(-1, layer.in_features).float()
    squares = x.square()
    layer.shares = (squares / squares.mean(1, keepdim=True).clamp_min(_TINY)).mean(0)


def _weigh(layer: Any, taken: tuple[Tensor, ...]) -> None:
    x, even = taken[0].detach().reshape(-1, layer.in_features).float(), factors(layer)
    x = x if even is None else x / even
    steps = x.abs().amax(1) / _STEPS
    layer.crowded = float((steps.square() / 12 / x.square().mean(1).clamp_min(_TINY)).mean()) > _ROUGH
