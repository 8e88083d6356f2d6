"""A service's metrics: labels that cannot grow, values read when they are asked for, and the /metrics route."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the number of series for times that nobody asks for

OTHER = "other"
MAX_INITIAL_SERIES = 64
UNITS = {"seconds": "s", "bytes": "B", "tokens": "tokens", "usage": "tokens", "celsius": "°C", "watts": "W"}

M = TypeVar("M", bound=MetricWrapperBase)
Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Label:
    """A label, the words it may have, and how many further values it takes as they come; what exceeds is "other"."""

    name: str
    words: tuple[str, ...] = ()
    room: int = 0


@dataclass(frozen=True)
class Described:
    """A metric as docs/metrics.md lists it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """By the last word of the name; 1 where that is what is counted."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return UNITS.get(last, "1")


class _Values:
    """The values that one label has taken. Never holds more than the label allows."""

    def __init__(self, label: Label) -> None:
        self._known = set(label.words)
        self._limit = len(self._known) + label.room

    def folded(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(value)
        return value


class Labelled(Generic[M]):
    """A metric with labels. `of` gives the child to count in, at the price of one look-up when it was seen before."""

    def __init__(self, metric: M, labels: Sequence[Label]) -> None:
        self._metric = metric
        self._values = [_Values(label) for label in labels]
        self._children: dict[tuple[str, ...], M] = {}
        # Series that exist from the start let rate() see the first event.
        fixed = list(product(*(label.words for label in labels)))
        for values in fixed[:MAX_INITIAL_SERIES]:
            self.of(*values)

    def of(self, *values: str) -> M:
        child = self._children.get(values)
        return child if child is not None else self._of_folded(values)

    def _of_folded(self, values: tuple[str, ...]) -> M:
        folded = tuple(known.folded(value) for known, value in zip(self._values, values, strict=True))
        if folded not in self._children:
            self._children[folded] = self._metric.labels(*folded)
        return self._children[folded]


class _Reading(Collector):
    """A metric whose value is read from the service's own state when it is asked for: it costs the work nothing."""

    def __init__(self, family: Callable[[], Metric], read: Callable[[], Iterable[tuple[list[str], float]]]) -> None:
        self._family, self._read = family, read

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for values, amount in self._read():
            family.add_metric(values, amount)  # type: ignore[attr-defined]
        return [family]


class Metrics:
    """All metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []
        ProcessCollector(registry=self.registry)

    def counter(self, name: str, meaning: str) -> Counter:
        self._describe(name, "counter", meaning)
        return Counter(name, meaning, registry=self.registry)

    def counters(self, name: str, meaning: str, *labels: Label) -> Labelled[Counter]:
        names = self._describe(name, "counter", meaning, *labels)
        return Labelled(Counter(name, meaning, names, registry=self.registry), labels)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        self._describe(name, "histogram", meaning)
        return Histogram(name, meaning, buckets=buckets, registry=self.registry)

    def histograms(self, name: str, meaning: str, buckets: Sequence[float], *labels: Label) -> Labelled[Histogram]:
        names = self._describe(name, "histogram", meaning, *labels)
        return Labelled(Histogram(name, meaning, names, buckets=buckets, registry=self.registry), labels)

    def counted(self, name: str, meaning: str, read: Callable[[], float | None]) -> None:
        """A counter that the service keeps itself."""
        self._describe(name, "counter", meaning)
        self._read(lambda: CounterMetricFamily(name, meaning, labels=[]), _unless_unknown(read))

    def counted_by(self, name: str, meaning: str, label: Label, read: Callable[[], Amounts]) -> None:
        names = self._describe(name, "counter", meaning, label)
        self._read(lambda: CounterMetricFamily(name, meaning, labels=names), _folding(label, read))

    def gauge(self, name: str, meaning: str, read: Callable[[], float | None]) -> None:
        """None is not known: there is no sample then."""
        self._describe(name, "gauge", meaning)
        self._read(lambda: GaugeMetricFamily(name, meaning, labels=[]), _unless_unknown(read))

    def gauge_by(self, name: str, meaning: str, label: Label, read: Callable[[], Amounts]) -> None:
        names = self._describe(name, "gauge", meaning, label)
        self._read(lambda: GaugeMetricFamily(name, meaning, labels=names), _folding(label, read))

    def info(self, name: str, meaning: str, labels: Sequence[str], read: Callable[[], Sequence[str]]) -> None:
        """What is so now, as labels of a gauge that is 1. One series at a time, so nothing grows here."""
        names = self._describe(name, "gauge", meaning, *map(Label, labels))
        self._read(lambda: GaugeMetricFamily(name, meaning, labels=names), lambda: [(list(read()), 1.0)])

    def _describe(self, name: str, kind: str, meaning: str, *labels: Label) -> list[str]:
        names = [label.name for label in labels]
        self.described.append(Described(name, kind, tuple(names), meaning))
        return names

    def _read(self, family: Callable[[], Metric], read: Callable[[], Iterable[tuple[list[str], float]]]) -> None:
        self.registry.register(_Reading(family, read))

    def route(self) -> Route:
        async def metrics(request: Request) -> Response:
            encode, media_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self.registry), headers={"content-type": media_type})

        return Route("/metrics", metrics)


def _unless_unknown(read: Callable[[], float | None]) -> Callable[[], Iterable[tuple[list[str], float]]]:
    def amounts() -> Iterable[tuple[list[str], float]]:
        amount = read()
        return [] if amount is None else [([], amount)]

    return amounts


def _folding(label: Label, read: Callable[[], Amounts]) -> Callable[[], Iterable[tuple[list[str], float]]]:
    """Every word of the label, from zero, and the others as far as there is room."""
    values = _Values(label)

    def amounts() -> Iterable[tuple[list[str], float]]:
        folded: Tally[str] = Tally(dict.fromkeys(label.words, 0))
        for value, amount in read().items():
            folded[values.folded(value)] += amount  # type: ignore[assignment]
        return [([value], amount) for value, amount in folded.items()]

    return amounts
