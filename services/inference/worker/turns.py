"""Whose turn it is: how many jobs of each class to ask for, so that urgent work goes first and no class starves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

WEIGHTS = {"interactive": 8, "standard": 3, "batch": 1}
# How long the oldest job of a class waits before the class begins to rise. The first is what people notice.
PATIENCE_SECONDS = {"interactive": 1.0, "standard": 5.0, "batch": 30.0}


class Turns:
    """Smooth weighted round robin with ageing.

    While all are young, any 12 turns of busy classes are 8, 3 and 1, evenly spread. The weight of a class whose oldest
    job has waited n times its patience is n times as high, at most the highest there is: so what is urgent keeps a
    third of the turns, whatever waits beside it.
    """

    def __init__(
        self, weights: Mapping[str, int] = WEIGHTS, patience_seconds: Mapping[str, float] = PATIENCE_SECONDS
    ) -> None:
        self._weights, self._patience = dict(weights), dict(patience_seconds)
        self._credit = dict.fromkeys(weights, 0.0)
        self._waited: Mapping[str, float] = {}

    def note(self, waited_seconds: Mapping[str, float]) -> None:
        """How long the oldest job of each class has waited, by Redis' clock: all workers of a model see the same."""
        self._waited = waited_seconds

    def weight(self, name: str) -> float:
        risen = self._weights[name] * self._waited.get(name, 0.0) / self._patience[name]
        return min(max(self._weights[name], risen), max(self._weights.values()))

    def share(self, count: int, among: Collection[str]) -> dict[str, int]:
        """`count` turns for the classes in `among`; only those that get any are named."""
        shares: dict[str, int] = {}
        for _ in range(count if among else 0):
            chosen = self._next({name: self.weight(name) for name in self._weights if name in among})
            shares[chosen] = shares.get(chosen, 0) + 1
        return shares

    def _next(self, weights: Mapping[str, float]) -> str:
        for name, weight in weights.items():
            self._credit[name] += weight
        chosen = max(weights, key=lambda name: self._credit[name])
        self._credit[chosen] -= sum(weights.values())
        return chosen
