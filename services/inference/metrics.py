"""The worker's metrics in Prometheus' text format. Labels are fixed words, never ids."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.inference.worker.worker import Worker


def metrics_route(worker: Worker) -> Route:
    async def metrics(request: Request) -> Response:
        return PlainTextResponse("".join(_lines(worker)), media_type="text/plain; version=0.0.4")

    return Route("/metrics", metrics)


def _lines(worker: Worker) -> Iterator[str]:
    load, beat = worker.runs.engine.load(), worker.runs.engine.heartbeat()
    for kind, name, value in (
        ("gauge", "slots", worker.runs.slots),
        ("gauge", "requests_running", worker.runs.running),
        ("gauge", "last_step_seconds", beat.last_step_ns / 1e9),
        ("counter", "steps_total", load.steps),
        ("counter", "prompt_tokens_total", load.prompt_tokens),
        ("counter", "output_tokens_total", load.output_tokens),
        ("counter", "computed_tokens_total", load.computed_tokens),
    ):
        yield f"# TYPE strongroom_inference_{name} {kind}\nstrongroom_inference_{name} {value}\n"
    yield "# TYPE strongroom_inference_events_total counter\n"
    for event, count in sorted(worker.runs.counters.items()):
        yield f'strongroom_inference_events_total{{event="{event}"}} {count}\n'
