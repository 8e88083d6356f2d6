"""What a guard can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chassis.settings import StackSettings

SHIPPED_POLICY = Path(__file__).with_name("policies") / "default.yaml"


@dataclass(frozen=True, kw_only=True)
class GuardSettings(StackSettings):
    """STRONGROOM_GUARD_…"""

    policy_file: Path = SHIPPED_POLICY  # read at the start and at every SIGHUP
    max_filters: int = 10_000  # 10 to 1,000,000; some 4 KiB each; past it the longest idle is forgotten and rebuilt
    filter_idle_seconds: float = 900  # 10 to 86,400
    max_long_texts: int = 16  # 1 to 1,000 waiting at once; past it RESOURCE_EXHAUSTED

    def check(self) -> list[str]:
        bounds = {"max_filters": (10, 1_000_000), "filter_idle_seconds": (10, 86_400), "max_long_texts": (1, 1_000)}
        return [
            f"STRONGROOM_GUARD_{name.upper()}: {getattr(self, name)} is not between {low} and {high}"
            for name, (low, high) in bounds.items()
            if not low <= getattr(self, name) <= high
        ]

    @property
    def kept_policies(self) -> Path:
        return self.home / "guard" / "policies"
