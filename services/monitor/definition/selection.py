"""Which series are meant: a metric's name and what its labels must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Labels = Mapping[str, str]
Point = tuple[float, float]  # Unix time, value


@dataclass(frozen=True)
class Selection:
    """`where` gives, for some labels, the values that are meant; an empty one means all series of the name."""

    name: str
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def matches(self, labels: Labels) -> bool:
        return all(labels.get(label, "") in values for label, values in self.where)

    def named(self, suffix: str) -> Selection:
        """The same series of another name: a histogram's buckets, its sum, its count."""
        return Selection(self.name + suffix, self.where)

    @property
    def promql(self) -> str:
        matchers = ", ".join(f"{label}{_matcher(values)}" for label, values in self.where)
        return f"{self.name}{{{matchers}}}" if matchers else self.name


class Samples(Protocol):
    """What was scraped lately. Every series has the labels `job` and `instance` of its target."""

    def points(self, selection: Selection, after: float, until: float) -> Iterable[tuple[Labels, Sequence[Point]]]:
        """Of each series the samples with after < time <= until, oldest first."""
        ...

    def current(self, selection: Selection) -> Iterable[tuple[Labels, float]]:
        """The last sample of each series whose target answered the last time it was asked."""
        ...


def _matcher(values: tuple[str, ...]) -> str:
    """The values are words of ours: nothing in them is special in a regular expression."""
    return f'="{values[0]}"' if len(values) == 1 else f'=~"{"|".join(values)}"'
