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
_SHARE = 0.75  # of the unevenness, as an exponent, that goes to the weights
_LEAST, _MOST = -3, 10  # exponents of two: a channel that slept is not made much larger
_TINY = 1e-5


@contextmanager
def watched(model: nn.Module) -> Iterator[None]:
    """While it lasts each linear layer notes how large its input channels get, under `largest`."""
    hooks = [layer.register_forward_pre_hook(_note) for layer in model.modules() if type(layer) is nn.Linear]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def factors(*layers: Any) -> Tensor | None:
    """[in], to divide by what these layers read, all the same, and to multiply their weights with.

    None: nobody watched them.
    """
    seen: Tensor | None = getattr(layers[0], "largest", None)
    if seen is None:
        return None
    weights = torch.stack([layer.weight.detach().abs().amax(0).float() for layer in layers]).amax(0)
    uneven = _SHARE * seen.clamp_min(_TINY).log2() - (1 - _SHARE) * weights.clamp_min(_TINY).log2()
    return (uneven - uneven.mean()).round_().clamp_(_LEAST, _MOST).exp2_()


def _note(layer: Any, taken: tuple[Tensor, ...]) -> None:
    found = taken[0].detach().reshape(-1, layer.in_features).abs().amax(0).float()
    before = getattr(layer, "largest", None)
    layer.largest = found if before is None else torch.maximum(before, found)
