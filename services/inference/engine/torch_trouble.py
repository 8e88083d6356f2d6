"""What a failed pass says of its cause."""

from __future__ import annotations

import torch

from services.inference.engine.protocol import Failure


def reason_of(error: Exception) -> Failure:
    """By type and by torch's fixed words; the text itself goes nowhere."""
    full = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)
    return Failure.OUT_OF_MEMORY if full else Failure.ENGINE_ERROR
