"""What the gateway can be told."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.sampling import Tracing
from chassis.settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(StackSettings):
    """STRONGROOM_GATEWAY_<NAME>, and the shared ones."""

    default_model: str = ""  # asked when a caller names none; unset means the first that a worker serves
    guard_addresses: str = ""  # comma-separated replicas; unset means the stack's own
    audit_address: str = ""  # unset means the stack's own
    max_in_flight: int = 256  # answers whose END is not durable yet; a request may ask for several
    max_choices: int = 8  # answers to one prompt
    max_queued: int = 1024  # jobs of a class of a model
    default_deadline_seconds: float = 120.0  # of calls that set none
    max_deadline_seconds: float = 3600.0
    drain_seconds: float = 5.0
    traced_below: float = 10.0  # requests a second that are all traced
    traced_share: float = 0.02  # of those above; errors and slow ones are kept beside them
    slow_seconds: float = 1.0  # to the first text

    def check(self) -> list[str]:
        problems = []
        for name in ("max_in_flight", "max_queued"):
            if not 1 <= getattr(self, name) <= 100_000:
                problems.append(f"STRONGROOM_GATEWAY_{name.upper()}: must be 1 to 100000")
        if not 1 <= self.max_choices <= 64:  # what audit gives tickets for at once
            problems.append("STRONGROOM_GATEWAY_MAX_CHOICES: must be 1 to 64")
        for name in ("default_deadline_seconds", "max_deadline_seconds"):
            if not 1 <= getattr(self, name) <= 86_400:
                problems.append(f"STRONGROOM_GATEWAY_{name.upper()}: must be 1 to 86400")
        for name, most in (("traced_share", 1), ("traced_below", 100_000), ("slow_seconds", 86_400)):
            if not 0 <= getattr(self, name) <= most:
                problems.append(f"STRONGROOM_GATEWAY_{name.upper()}: must be 0 to {most}")
        return problems

    @property
    def choices(self) -> int:
        """No request may need more room than there can be."""
        return min(self.max_choices, self.max_in_flight, self.max_queued)

    @property
    def tracing(self) -> Tracing:
        return Tracing(share=self.traced_share, all_below=self.traced_below, slow_seconds=self.slow_seconds)

    @property
    def guards(self) -> list[str]:
        named = [address.strip() for address in self.guard_addresses.split(",") if address.strip()]
        return named or [self.address("guard")]

    @property
    def audit(self) -> str:
        return self.audit_address or self.address("audit")
