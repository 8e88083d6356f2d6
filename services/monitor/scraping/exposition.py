"""Prometheus' text format: the series that are wanted, read within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

from prometheus_client.parser import text_string_to_metric_families

from services.monitor.windows.windows import Sample

MAX_LINE_CHARACTERS = 1_024
Labels = tuple[tuple[str, str], ...]


class Problem(StrEnum):
    """Why a scrape gave nothing."""

    REFUSED = "refused"  # nobody listens, or the connection broke
    TIMEOUT = "timeout"
    STATUS = "status"  # not 200
    TOO_LARGE = "too_large"
    TOO_MANY_SERIES = "too_many_series"
    GARBAGE = "garbage"  # not the text format, or none of our metrics


class Unreadable(Exception):
    """The target's answer cannot be taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class Reader:
    """Reads one target's scrapes. What stands before a value is parsed once, as it is the same every time."""

    def __init__(self, wanted: frozenset[str], max_series: int) -> None:
        self._wanted, self._max_series = wanted, max_series
        self._parsed: dict[str, tuple[str, Labels]] = {}  # of the last scrape

    def read(self, body: bytes) -> list[Sample]:
        """The wanted samples; raises Unreadable. NaN, which says nothing, is left out."""
        samples: list[Sample] = []
        parsed: dict[str, tuple[str, Labels]] = {}
        for line in self._wanted_lines(body):
            if len(parsed) >= self._max_series:
                raise Unreadable(Problem.TOO_MANY_SERIES)
            series, rest = _cut(line)
            try:
                name, labels = parsed[series] = self._parsed.get(series) or _parse(series)
                value = float(rest.split(None, 1)[0])
            except Exception:  # the parser was not made for enemies: whatever it raises, the answer is no exposition
                raise Unreadable(Problem.GARBAGE) from None
            if not math.isnan(value):
                samples.append(Sample(name, labels, value))
        if not samples:
            raise Unreadable(Problem.GARBAGE)
        self._parsed = parsed
        return samples

    def _wanted_lines(self, body: bytes) -> Iterator[str]:
        try:
            lines = body.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            raise Unreadable(Problem.GARBAGE) from None
        for line in lines:
            if line[:1] == "#" or line.partition("{")[0].partition(" ")[0] not in self._wanted:
                continue
            if len(line) > MAX_LINE_CHARACTERS:
                raise Unreadable(Problem.TOO_LARGE)
            yield line


def _cut(line: str) -> tuple[str, str]:
    """The series, and what follows it: the value and perhaps a timestamp."""
    if "{" in line:
        end = line.rindex("}") + 1 if "}" in line else 0
        return line[:end], line[end:]
    name, _, rest = line.partition(" ")
    return name, rest


def _parse(series: str) -> tuple[str, Labels]:
    [family] = text_string_to_metric_families(f"{series} 0\n")
    [sample] = family.samples
    return sample.name, tuple(sorted(sample.labels.items()))
