"""The names of the gateway's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from chassis import genai
from chassis.failures import Unavailable
from chassis.metrics import Label, Metrics
from services.gateway.requests.account import NOT_ACCEPTED, Account
from services.gateway.requests.admission import Admission
from services.gateway.requests.outcome import (
    ALLOW,
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    FLAG,
    READ_BACK,
    REFUSE,
    REFUSED,
    WITHHELD,
)
from streams.depths import Depth
from streams.gateway import JobQueue
from streams.keys import CLASSES

END = Label("end", (COMPLETED, REFUSED, WITHHELD, CANCELLED, EXPIRED, FAILED, NOT_ACCEPTED, READ_BACK))
PRIORITY = Label("priority", CLASSES)
VERDICT = Label("verdict", (ALLOW, FLAG, REFUSE))
RULE = Label("rule", room=128)  # as many as a policy has, and a new policy may bring others
REASON = Label("reason", room=64)
# A word for what an alert goes by: the first one must be a rise.
TURNED_AWAY = Label("reason", ("TOO_MANY_IN_FLIGHT",), room=64)
MODEL = Label("model", room=32)
NEIGHBOUR = Label("neighbour", ("guard", "audit", "queue"))

OPERATION = Label(genai.label(genai.OPERATION), (genai.CHAT,))
PROVIDER = Label(genai.label(genai.PROVIDER), (genai.OURS,))
REQUEST_MODEL = Label(genai.label(genai.REQUEST_MODEL), room=32)
ERROR_TYPE = Label(genai.label(genai.ERROR_TYPE), ("",), room=64)
TOKEN_TYPE = Label(genai.label(genai.TOKEN_TYPE), ("input", "output"))
FIRST_RELEASE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Neighbour(Protocol):
    def require(self) -> None: ...


class GatewayMetrics(Metrics):
    """`ended` and `turned_away` count a request once, when it is over; the rest is read when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = self.counters(
            "strongroom_gateway_requests_total", "Requests that are over, by how they ended.", END, PRIORITY
        )
        self._turned_away = self.counters(
            "strongroom_gateway_turned_away_total", "Requests refused before anything was accepted.", TURNED_AWAY
        )
        self._verdicts = self.counters(
            "strongroom_gateway_verdicts_total", "Verdicts on prompt and answer together, by rule.", VERDICT, RULE
        )
        self._releases = self.counter(
            "strongroom_gateway_releases_total", "Releases of answer text; counted when the request is over."
        )
        self._released_bytes = self.counter(
            "strongroom_gateway_released_bytes_total", "Bytes of answer text released; counted at the same time."
        )
        self._first_release = self.histograms(
            "strongroom_gateway_time_to_first_release_seconds",
            "From a request's start until its first text, durable, is handed to the caller; of an answer that is sent "
            "whole, until it had passed the filter.",
            FIRST_RELEASE_SECONDS,
            PRIORITY,
        )
        self._count_as_conventions_say()

    def _count_as_conventions_say(self) -> None:
        self._durations = self.histograms(
            genai.CLIENT_DURATION.prometheus,
            "A request from its start to its end, as a caller of the model sees it.",
            genai.CLIENT_DURATION.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL, ERROR_TYPE),
        )
        self._first_chunks = self.histograms(
            genai.CLIENT_FIRST_CHUNK.prometheus,
            "From a request's start until its first text.",
            genai.CLIENT_FIRST_CHUNK.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL),
        )
        self._tokens = self.histograms(
            genai.CLIENT_TOKENS.prometheus,
            "Tokens of a request's prompt and of its answer.",
            genai.CLIENT_TOKENS.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL, TOKEN_TYPE),
        )

    def ended(self, account: Account) -> None:
        model = (genai.CHAT, genai.OURS, account.model)
        self._requests.of(account.end, account.priority).inc()
        self._durations.of(*model, account.error).observe(account.seconds)
        if account.verdict:
            self._verdicts.of(account.verdict, account.rule).inc()
        if account.releases:
            self._releases.inc(account.releases)
            self._released_bytes.inc(account.released_bytes)
        if account.first_release_seconds is not None:
            self._first_release.of(account.priority).observe(account.first_release_seconds)
            self._first_chunks.of(*model).observe(account.first_release_seconds)
        if account.output_tokens:
            self._tokens.of(*model, "input").observe(account.input_tokens)
            self._tokens.of(*model, "output").observe(account.output_tokens)

    def turned_away(self, reason: str) -> None:
        self._turned_away.of(reason).inc()

    def watch(self, admission: Admission, guard: _Neighbour, audit: _Neighbour, queue: JobQueue) -> None:
        self.gauge(
            "strongroom_gateway_in_flight_requests",
            "Requests whose END is not durable yet.",
            lambda: admission.in_flight,
        )
        self.gauge_by(
            "strongroom_gateway_neighbour_available",
            "1 while guard, audit and the queue answer; without one of them nothing is accepted.",
            NEIGHBOUR,
            lambda: {"guard": _there(guard), "audit": _there(audit), "queue": queue.available},
        )
        self.gauge_by(
            "strongroom_gateway_queue_jobs",
            "Jobs waiting or running, by class, all models together: what the queue's bound bounds.",
            PRIORITY,
            lambda: {name: sum(depth.jobs for depth in found) for name, found in _depths(queue).items()},
        )
        self.gauge_by(
            "strongroom_gateway_queue_waiting_jobs",
            "Jobs that no worker has been given yet.",
            PRIORITY,
            lambda: {name: sum(depth.waiting for depth in found) for name, found in _depths(queue).items()},
        )
        self.gauge_by(
            "strongroom_gateway_queue_oldest_seconds",
            "How long the oldest job that no worker has been given has waited; 0 when none waits.",
            PRIORITY,
            lambda: {
                name: max((d.oldest_seconds for d in found), default=0.0) for name, found in _depths(queue).items()
            },
        )
        self.gauge_by(
            "strongroom_gateway_workers",
            "Workers seen within the last seconds, by model; 0 for a model whose workers are gone.",
            MODEL,
            lambda: _workers(queue),
        )
        self.counted_by(
            "strongroom_gateway_odd_replies_total",
            "What arrived of workers and reached no request, by reason.",
            REASON,
            lambda: queue.odd,
        )


def _there(neighbour: _Neighbour) -> float:
    try:
        neighbour.require()
    except Unavailable:
        return 0.0
    return 1.0


def _depths(queue: JobQueue) -> Mapping[str, Iterable[Depth]]:
    return {name: [queue.depth(model, name) for model in queue.models] for name in CLASSES}


def _workers(queue: JobQueue) -> Mapping[str, float]:
    serving = [worker.model for worker in queue.workers]
    return {model: serving.count(model) for model in queue.models}
