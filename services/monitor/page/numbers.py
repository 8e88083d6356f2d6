"""Numbers as people read them: three digits that matter, thousands apart, the unit beside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

NOTHING = "–"  # nothing was measured: an idle stack has no latency
_LONG = 120  # seconds


@dataclass(frozen=True, slots=True)
class Amount:
    """A number and its unit, apart: the page sets the unit smaller."""

    number: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".strip()


def amount(value: float | None, unit: str = "") -> Amount:
    """By the units of the definition: seconds, ratio, bytes, tokens, or empty for a number."""
    if value is None or not math.isfinite(value):
        return Amount(NOTHING)
    return _BY_UNIT.get(unit, _plain)(value)


def clock(seconds: float) -> str:
    """The time of day, as `strongroom audit` and the logs have it: UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _digits(value: float) -> str:
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _plain(value: float) -> Amount:
    return Amount(_digits(value))


def _seconds(value: float) -> Amount:
    """4.20 ms, 1.84 s, and above two minutes as an age."""
    if value >= _LONG:
        return _age(value)
    if value >= 1 or value == 0:
        return Amount(_digits(value), "s")
    if value >= 0.001:
        return Amount(_digits(value * 1e3), "ms")
    return Amount(_digits(value * 1e6), "µs")


def _ratio(value: float) -> Amount:
    percent = value * 100
    if 0 < percent < 0.01:
        return Amount("<0.01", "%")
    return Amount(f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.2g}", "%")


def _bytes(value: float) -> Amount:
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return Amount(_digits(value / 1024**power), unit)
    return Amount(_digits(value), "B")


def _per_second(value: float) -> Amount:
    return Amount(_digits(value), "/s")


def _age(value: float) -> Amount:
    """12 s, 3.5 min, 41 min, 2.5 h, 12 d: an age that changes faster than it is read says nothing."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if value >= 2 * size:
            count = value / size
            return Amount(f"{count:.1f}".removesuffix(".0") if count < 10 else f"{count:,.0f}", unit)
    return Amount(str(max(round(value), 0)), "sec")


_BY_UNIT = {"seconds": _seconds, "ratio": _ratio, "bytes": _bytes, "/s": _per_second, "age": _age}
