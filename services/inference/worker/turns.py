"""Whose turn it is: how many jobs of each class to ask for, so that urgent work goes first and no class starves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

WEIGHTS = {"interactive": 8, "standard": 3, "batch": 1}


class Turns:
    """Smooth weighted round robin: over any 12 turns of busy classes they get 8, 3 and 1, evenly spread."""

    def __init__(self, weights: Mapping[str, int] = WEIGHTS) -> None:
        self._weights = dict(weights)
        self._credit = dict.fromkeys(weights, 0)

    def share(self, count: int, among: Collection[str]) -> dict[str, int]:
        """`count` turns for the classes in `among`; only those that get any are named."""
        shares: dict[str, int] = {}
        for _ in range(count if among else 0):
            chosen = self._next([name for name in self._weights if name in among])
            shares[chosen] = shares.get(chosen, 0) + 1
        return shares

    def _next(self, among: list[str]) -> str:
        for name in among:
            self._credit[name] += self._weights[name]
        chosen = max(among, key=lambda name: self._credit[name])
        self._credit[chosen] -= sum(self._weights[name] for name in among)
        return chosen
