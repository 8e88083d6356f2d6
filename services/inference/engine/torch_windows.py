"""Which keys a query may see, by the kind of layer: all before it, or a sliding window of the last ones.

A sliding layer keeps its whole past in the slot cache and looks at the window of it: the mask decides, not the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from services.inference.engine.torch_attention import causal_bias
from services.inference.models.wheel import ModelUnavailable

FULL, SLIDING = "full_attention", "sliding_attention"  # as transformers' `layer_types` name them


class Masks:
    """Of one model. Raises ModelUnavailable for kinds of layers whose mask is not known here."""

    def __init__(self, config: Any) -> None:
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        kinds = set(getattr(config, "layer_types", None) or [SLIDING if window else FULL])
        unknown = kinds - {FULL, SLIDING}
        if unknown:
            raise ModelUnavailable(
                f"the model has layers of the kind {min(unknown)}, which this engine does not run: take another model"
            )
        self._kinds = sorted(kinds)
        self._window = int(window or 0)  # tokens, the query's own included
        if SLIDING in kinds and self._window < 1:
            raise ModelUnavailable("the model's config has sliding layers and no sliding_window: correct it")

    @property
    def sliding(self) -> bool:
        return SLIDING in self._kinds

    def of(self, positions: Tensor, view: int, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """[rows, 1, queries, view], 0 or minus infinity: one for all layers, or one for each kind."""
        causal = causal_bias(positions, view, dtype)
        made = {kind: causal if kind == FULL else windowed(causal, positions, self._window) for kind in self._kinds}
        return made if len(made) > 1 else made[self._kinds[0]]


def windowed(causal: Tensor, positions: Tensor, window: int) -> Tensor:
    places = torch.arange(causal.shape[-1], device=positions.device)
    return causal.masked_fill(places <= positions[:, None, :, None] - window, float("-inf"))
