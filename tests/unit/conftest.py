"""What docs/metrics.md says, and what a service shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from chassis.metrics import Described, Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (\S+) \| (.*?) \| (.*) \|$", re.MULTILINE)


def documented(service: str) -> list[Described]:
    """The rows of a service's section; "every service" is one too."""
    [section] = re.findall(rf"^## {service}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    rows = []
    for name, kind, unit, labels, meaning in ROW.findall(section):
        described = Described(name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning)
        assert described.unit == unit, (
            f"docs/metrics.md gives {name} the unit {unit}; by its name it is {described.unit}"
        )
        rows.append(described)
    return rows


def exposed(metrics: Metrics) -> dict[str, Metric]:
    """What a scrape gets, by the names that docs/metrics.md uses."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {f"{family.name}_total" if family.type == "counter" else family.name: family for family in families}


def check_against_document(service: str, metrics: Metrics) -> None:
    assert metrics.described == documented(service), "docs/metrics.md and the code differ"
    shown, everywhere = exposed(metrics), documented("Every service")
    assert shown.keys() == {row.name for row in [*documented(service), *everywhere]}
    for row in [*documented(service), *everywhere]:
        family = shown[row.name]
        assert (family.type, family.documentation) == (row.kind, row.meaning)
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels <= set(row.labels), f"{row.name} has labels that docs/metrics.md does not name"


@pytest.fixture
def as_documented() -> Callable[[str, Metrics], None]:
    """Fails unless docs/metrics.md names every metric of the service, and nothing else."""
    return check_against_document


@pytest.fixture
def value_of() -> Callable[..., float]:
    """`value_of(metrics, "name_total", label="value")`: the sum of the samples that match."""

    def value(metrics: Metrics, name: str, **labels: str) -> float:
        samples = [
            sample.value
            for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert samples, f"{name} has no sample with {labels}"
        return sum(samples)

    return value
