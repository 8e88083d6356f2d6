"""The last minutes of every series that the definition reads, target by target, within bounds of series and time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.monitor.definition.selection import Labels, Point, Selection

UP = "up"
# A counter that a target shows for the first time began at 0 when the target was asked before: else the first event
# of its kind would be no rise. Prometheus has no such rule, so series that must not miss one exist from the start.
BEGIN_AT_ZERO = ("_total", "_count", "_sum", "_bucket")


@dataclass(frozen=True)
class Target:
    """One process that is scraped. The names are those that Prometheus uses for it."""

    job: str  # strongroom-<service>
    instance: str  # host:port

    @property
    def service(self) -> str:
        return self.job.removeprefix("strongroom-")


@dataclass(frozen=True)
class Sample:
    name: str
    labels: tuple[tuple[str, str], ...]  # sorted by label
    value: float


@dataclass(frozen=True)
class WindowBounds:
    """What is kept. A target with more series than this is not taken at all, as Prometheus' sample_limit does."""

    seconds: float
    series_per_target: int = 2_000
    series: int = 20_000  # of all together: some 100 MB when scraped every two seconds for ten minutes


class _Series:
    """Two arrays: sixteen bytes a sample."""

    __slots__ = ("labels", "times", "values")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.times, self.values = array("d"), array("d")

    def add(self, at: float, value: float) -> None:
        self.times.append(at)
        self.values.append(value)

    def trim(self, before: float) -> None:
        """Now and then, not sample by sample: a cut moves everything behind it."""
        old = bisect_right(self.times, before)
        if old > 32 and old > len(self.times) // 8:
            del self.times[:old], self.values[:old]

    def points(self, after: float, until: float) -> Sequence[Point]:
        first, last = bisect_right(self.times, after), bisect_right(self.times, until)
        return list(zip(self.times[first:last], self.values[first:last]))


Series = dict[str, dict[tuple[tuple[str, str], ...], _Series]]


class _Scraped:
    """What one target showed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.series: Series = defaultdict(dict)
        self.last_ok: float | None = None
        self.up = False

    def __len__(self) -> int:
        return sum(map(len, self.series.values()))

    def record(self, at: float, sample: Sample, before: float | None) -> None:
        named = self.series[sample.name]
        series = named.get(sample.labels)
        if series is None:
            place = {"job": self.target.job, "instance": self.target.instance}
            series = named[sample.labels] = _Series({**dict(sample.labels), **place})
            if before is not None and sample.name.endswith(BEGIN_AT_ZERO):
                series.add(before, 0.0)
        series.add(at, sample.value)

    def forget(self, before: float) -> None:
        """Series that ended before this, and old samples of the others."""
        for name, named in list(self.series.items()):
            for labels, series in list(named.items()):
                if series.times[-1] <= before:
                    del named[labels]
                else:
                    series.trim(before)
            if not named:
                del self.series[name]

    def clear(self) -> None:
        self.series.clear()
        self.last_ok = None


class Windows:
    """Owned by the event loop. Times are Unix seconds; a clock that was set back empties what lies ahead of it."""

    def __init__(self, selections: Iterable[Selection], bounds: WindowBounds) -> None:
        self.names = frozenset(selection.name for selection in selections)
        self._bounds = bounds
        self._targets: dict[Target, _Scraped] = {}

    def __len__(self) -> int:
        return sum(map(len, self._targets.values()))

    def answered(self, target: Target, at: float, samples: Iterable[Sample]) -> bool:
        """Takes a scrape; false if its series are too many together with those that lately ended."""
        scraped = self._of(target, at)
        kept = {(sample.name, sample.labels): sample for sample in samples if sample.name in self.names}
        new = sum(labels not in scraped.series.get(name, {}) for name, labels in kept)
        if len(scraped) + new > self._bounds.series_per_target or len(self) + new > self._bounds.series:
            self.failed(target, at)
            return False
        for sample in kept.values():
            scraped.record(at, sample, scraped.last_ok)
        self._mark(scraped, at, up=True)
        return True

    def failed(self, target: Target, at: float) -> None:
        """The target was asked and gave nothing that could be taken."""
        self._mark(self._of(target, at), at, up=False)

    def drop(self, target: Target) -> None:
        """The target is none any more: whatever it showed is of no interest."""
        self._targets.pop(target, None)

    def last_ok(self, target: Target) -> float | None:
        scraped = self._targets.get(target)
        return scraped.last_ok if scraped else None

    def is_up(self, target: Target) -> bool:
        scraped = self._targets.get(target)
        return scraped is not None and scraped.up

    def value(self, selection: Selection, target: Target) -> float | None:
        """What the target showed last; None while it does not answer."""
        place = target.instance
        return next((value for labels, value in self.current(selection) if labels["instance"] == place), None)

    # What quantities ask

    def points(self, selection: Selection, after: float, until: float) -> Iterator[tuple[Labels, Sequence[Point]]]:
        for _, series in self._select(selection):
            if points := series.points(after, until):
                yield series.labels, points

    def current(self, selection: Selection) -> Iterator[tuple[Labels, float]]:
        for scraped, series in self._select(selection):
            asked = scraped.series[UP][()].times[-1]
            if series.times[-1] == asked and (scraped.up or selection.name == UP):
                yield series.labels, series.values[-1]

    def _select(self, selection: Selection) -> Iterator[tuple[_Scraped, _Series]]:
        for scraped in self._targets.values():
            for series in scraped.series.get(selection.name, {}).values():
                if selection.matches(series.labels):
                    yield scraped, series

    def _of(self, target: Target, at: float) -> _Scraped:
        scraped = self._targets.setdefault(target, _Scraped(target))
        asked = scraped.series.get(UP, {}).get(())
        if asked is not None and asked.times[-1] >= at:
            scraped.clear()
        scraped.forget(at - self._bounds.seconds)
        return scraped

    def _mark(self, scraped: _Scraped, at: float, *, up: bool) -> None:
        scraped.up = up
        scraped.record(at, Sample(UP, (), float(up)), None)
        if up:
            scraped.last_ok = at
