"""A snapshot of the whole stack. `None` means unknown: nothing to measure it on, or the service is stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.monitor.alerts.alert import Alert


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """One process that is scraped. Stale is shown as stale: `up` says whether the last scrape succeeded."""

    service: str  # gateway, guard, inference, audit
    instance: str  # host:port that is scraped
    up: bool
    age_seconds: float | None  # since the last scrape that succeeded; None if none ever did
    problem: str = ""  # why the last scrape failed: a word such as timeout, refused, garbage, too_large
    ready: bool | None = None  # what /readyz said; None if it was not to be had
    reason: str = ""  # why it takes no work, in its own words
    uptime_seconds: float | None = None
    cpu_ratio: float | None = None  # of one core
    memory_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    requests_per_second: float | None = None
    error_ratio: float | None = None  # of requests that are over
    in_flight_requests: float | None = None
    ends_per_second: Mapping[str, float] = field(default_factory=dict)  # COMPLETED, REFUSED, FAILED …
    turned_away_per_second: Mapping[str, float] = field(default_factory=dict)  # by reason


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds, over the last minute."""

    request_p50: float | None = None
    request_p95: float | None = None
    request_p99: float | None = None
    first_text_p50: float | None = None  # at the gateway: durable and handed over
    first_text_p95: float | None = None
    first_text_interactive_p95: float | None = None  # what the thresholds of 500 ms and 1 s are about
    first_token_p50: float | None = None  # at the worker, the waiting included
    first_token_p95: float | None = None
    output_token_p50: float | None = None  # between the tokens of an answer
    output_token_p95: float | None = None
    step_p95: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tokens:
    output_tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    useful_token_ratio: float | None = None  # batch efficiency, the one number
    slot_fill_ratio: float | None = None  # and the other: while there was demand


@dataclass(frozen=True, kw_only=True)
class QueueClass:
    priority: str  # interactive, standard, batch
    jobs: float | None = None  # waiting and running
    waiting: float | None = None
    oldest_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class VerdictRate:
    verdict: str  # ALLOW, FLAG, REFUSE
    rule: str
    per_second: float


@dataclass(frozen=True, kw_only=True)
class Guard:
    verdicts: Sequence[VerdictRate] = ()  # the most frequent first
    findings_per_second: Mapping[str, float] = field(default_factory=dict)  # by class of personal data
    screen_p95: float | None = None
    policy: Mapping[str, str] = field(default_factory=dict)  # name, version, digest
    policy_file_refused: bool | None = None


@dataclass(frozen=True, kw_only=True)
class AuditHealth:
    tree_entries: float | None = None
    checkpoint_entries: float | None = None
    checkpoint_age_seconds: float | None = None
    commit_p50: float | None = None
    commit_p99: float | None = None
    group_entries_mean: float | None = None
    entries_per_second: float | None = None
    fsyncs_per_second: float | None = None
    open_records: float | None = None
    waiting_items: float | None = None
    open_differences: float | None = None  # between the log's counts and the workers'
    disk_free_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    instance: str
    model: str = ""
    engine: str = ""
    dtype: str = ""
    device: str = ""
    attention: str = ""
    ready: bool | None = None
    engine_alive: bool | None = None
    heartbeat_age_seconds: float | None = None  # 0 while idle: health is the step's heartbeat, not the process
    slots: float | None = None
    running: float | None = None
    kv_used_ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gpu:
    index: int
    name: str
    utilisation_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that the monitor runs on, inside the limits of its container."""

    cores: float | None = None  # that may be used: affinity and quota
    cpu_ratio: float | None = None  # of those cores
    cpu_throttled_ratio: float | None = None  # share of the scheduler's periods in which the quota ran out
    cpu_pressure_ratio: float | None = None  # share of time in which something runnable waited for a core
    memory_used_bytes: float | None = None
    memory_limit_bytes: float | None = None
    memory_pressure_ratio: float | None = None
    gpus: Sequence[Gpu] = ()
    gpu_reason: str = ""  # why none is shown


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart, at the history's times; None where nothing was known."""

    values: Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class History:
    """The last quarter of an hour: a figure's id (with its label's value after a slash) and its line."""

    times: Sequence[float] = ()  # Unix seconds, oldest first
    series: Mapping[str, Series] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Status:
    time: float  # Unix seconds of the last round of scrapes; older than a few intervals means that the monitor hangs
    interval_seconds: float
    services: Sequence[ServiceState] = ()
    traffic: Traffic = Traffic()
    latency: Latency = Latency()
    tokens: Tokens = Tokens()
    queue: Sequence[QueueClass] = ()
    guard: Guard = Guard()
    audit: AuditHealth = AuditHealth()
    workers: Sequence[WorkerState] = ()
    models: Mapping[str, float] = field(default_factory=dict)  # workers by model
    machine: Machine = Machine()
    active: Sequence[Alert] = ()  # firing, the most severe first, then pending
    recent: Sequence[Alert] = ()  # resolved, the last first
    history: History = History()
