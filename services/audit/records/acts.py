"""Remembers recent acts, so that one that may be recorded once only is not recorded again."""

from __future__ import annotations

from collections import OrderedDict

from services.audit.records.entries import Act

REMEMBERED_ACTS = 10_000


class RememberedActs:
    """Service, action and target of the most recent acts."""

    def __init__(self) -> None:
        self._acts: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def add(self, service: str, action: str, target: str) -> None:
        self._acts[service, action, target] = None
        if len(self._acts) > REMEMBERED_ACTS:
            self._acts.popitem(last=False)

    def targets(self, service: str, action: str) -> set[str]:
        return {target for by, done, target in self._acts if (by, done) == (service, action)}

    def known(self, act: Act) -> bool:
        return (act.service, act.action, act.target) in self._acts
