"""One alert: a rule that holds at one place, since when, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.monitor.definition.quantities import Key
from services.monitor.definition.rules import Rule


class State(StrEnum):
    PENDING = "pending"  # it holds, and not yet for as long as the rule asks
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Times are Unix seconds. What it means and what to do stands in its rule, in both languages."""

    rule: Rule
    key: Key = ()  # where: the values of the rule's `by` labels
    state: State
    value: float  # of the rule's quantity, the last that was past the threshold
    since: float  # when it began to hold
    fired: float | None = None
    resolved: float | None = None
    covered: bool = False  # a more severe rule that covers this one fires too: it need not be shown

    @property
    def id(self) -> str:
        """Names the rule and the place: the same one each time it comes back."""
        return "/".join((self.rule.id, *self.key))

    @property
    def labels(self) -> Mapping[str, str]:
        return dict(zip(self.rule.by, self.key, strict=True))
