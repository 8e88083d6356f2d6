"""Whom Prometheus scrapes: the services of a stack, under the job names that the rules go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS, StackSettings
from services.monitor.definition.quantities import span
from services.monitor.scraping.targets import SERVICES, job, stack_targets
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
    addresses = {name: [target.instance for target in targets if target.job == name] for name in jobs}
    found = {name: {"static_configs": [{"targets": instances}]} for name, instances in addresses.items()}
    return _config(found, rules, interval_seconds)


def scrape_config_by_name(rules: str, interval_seconds: float) -> dict[str, Any]:
    """Where each service is a host of its own name with an address a replica, as in compose.yaml."""
    found = {job(name): {"dns_sd_configs": [_lookup(name, interval_seconds)]} for name in (*SERVICES, "monitor")}
    return _config(found, rules, interval_seconds)


def _lookup(service: str, interval_seconds: float) -> dict[str, Any]:
    port = StackSettings.port_base + PORT_OFFSETS[service] + HTTP_OFFSET
    return {"names": [service], "type": "A", "port": port, "refresh_interval": span(interval_seconds)}


def _config(found: Mapping[str, dict[str, Any]], rules: str, interval_seconds: float) -> dict[str, Any]:
    return {
        "global": {
            "scrape_interval": span(interval_seconds),
            "scrape_timeout": span(min(interval_seconds, 4.0)),
            "evaluation_interval": span(interval_seconds),
        },
        "rule_files": [rules],
        "scrape_configs": [
            {"job_name": name, "sample_limit": SERIES_PER_TARGET, **where} for name, where in found.items()
        ],
    }
