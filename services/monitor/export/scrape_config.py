"""Whom Prometheus scrapes: the services of a stack, under the job names that the rules go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS
from services.monitor.definition.quantities import span
from services.monitor.scraping.targets import job, stack_targets
from services.monitor.windows.windows import Target

SERIES_PER_TARGET = 20_000  # the most that the monitor itself can be told to take


def scraped(host: str, port_base: int, workers: int) -> list[Target]:
    """A local stack, the monitor with it: that one is silent, only Prometheus can tell."""
    bracketed = f"[{host}]" if ":" in host else host
    monitor = Target(job("monitor"), f"{bracketed}:{port_base + PORT_OFFSETS['monitor'] + HTTP_OFFSET}")
    return [*stack_targets(host, port_base, workers), monitor]


def scrape_config(targets: Sequence[Target], rules: str, interval_seconds: float) -> dict[str, Any]:
    """`rules` is the rule file's path, from the configuration's folder."""
    jobs = dict.fromkeys(target.job for target in targets)
    return {
        "global": {
            "scrape_interval": span(interval_seconds),
            "scrape_timeout": span(min(interval_seconds, 4.0)),
            "evaluation_interval": span(interval_seconds),
        },
        "rule_files": [rules],
        "scrape_configs": [_job(name, [target.instance for target in targets if target.job == name]) for name in jobs],
    }


def _job(name: str, instances: list[str]) -> dict[str, Any]:
    return {"job_name": name, "sample_limit": SERIES_PER_TARGET, "static_configs": [{"targets": instances}]}
