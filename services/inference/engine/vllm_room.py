"""What vLLM may take for keys and values on a CPU; on a GPU it measures for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.inference.engine.sizing import PREFIX_SHARE
from services.inference.planning.architecture import Architecture, ConfigUnreadable, read


@dataclass(frozen=True, kw_only=True, slots=True)
class KvRoom:
    """In bytes."""

    free: int
    share: float
    token_bytes: int  # 0: not known for this kind of model
    tokens: int  # of all slots at full context

    @property
    def size(self) -> int:
        """As much as the slots can fill and a share for kept prefixes, at most the memory's share."""
        most = int(self.free * self.share)
        wanted = int(self.tokens * self.token_bytes * (1 + PREFIX_SHARE))
        return min(most, wanted) if wanted else most


def architecture(config: Mapping[str, Any]) -> Architecture | None:
    """None: of a family that plans do not know, and vLLM may."""
    try:
        return read(config)
    except ConfigUnreadable:
        return None
