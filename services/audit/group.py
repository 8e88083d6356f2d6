"""What is committed together, and where it is once it is durable."""

from __future__ import annotations

from typing import NamedTuple

from services.audit.journal.frame import Entry
from services.audit.records.planning import Plan


class Group(NamedTuple):
    """What is made durable together: a plan for each item, or why there is none, and the entries of all of them."""

    plans: list[Plan | Exception]
    entries: list[Entry]
    frames: list[bytes]  # of the entries

    @property
    def reads(self) -> bool:
        """Whether an answer is read back from the journal."""
        return any(isinstance(plan, Plan) and plan.reads for plan in self.plans)


class Durable(NamedTuple):
    """Where each entry of a group is in the journal, and how long writing and syncing took."""

    locations: list[int]
    seconds: float
