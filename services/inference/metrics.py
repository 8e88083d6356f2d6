"""The names of an inference worker's metrics."""

from __future__ import annotations

import time

from strongroom.inference.v1 import inference_pb2 as pb

from chassis import genai
from chassis.metrics import Label, Metrics
from services.inference.engine.loop import Heartbeat
from services.inference.engine.protocol import ModelInfo
from services.inference.worker.run import Run
from services.inference.worker.runs import Runs
from services.inference.worker.worker import Worker
from streams.keys import CLASSES

PRIORITY = Label("priority", CLASSES)
# Words for what an alert goes by: the first event of its kind must be a rise.
FORGED = ("ticket", "ticket_forged", "broken_seal", "unknown_key", "not_a_job", "replay")
EVENT = Label("event", ("ended_stop", "ended_length", *(f"refused_{reason}" for reason in FORGED)), room=64)
REASON = Label("reason", ("OUT_OF_MEMORY", "ENGINE_ERROR", "POISON", "TOKEN_LOG_UNREADABLE"), room=32)
MODEL_LABELS = ("model", "engine", "dtype", "device", "attention")

OPERATION = Label(genai.label(genai.OPERATION), (genai.CHAT,))
PROVIDER = Label(genai.label(genai.PROVIDER), (genai.OURS,))
REQUEST_MODEL = Label(genai.label(genai.REQUEST_MODEL), room=32)
ERROR_TYPE = Label(genai.label(genai.ERROR_TYPE), ("",), room=32)

QUEUE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
PHASE_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class InferenceMetrics(Metrics):
    """`stepped`, `first_token` and `ended` count as the worker goes; the rest is read when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._step = self.histogram(
            "strongroom_inference_step_seconds",
            "One step of the engine: prefill chunks and one token a row.",
            STEP_SECONDS,
        )
        self._queue = self.histograms(
            "strongroom_inference_queue_seconds",
            "From when the gateway queued a job until a worker took it, by both machines' clocks.",
            QUEUE_SECONDS,
            PRIORITY,
        )
        self._prefill = self.histogram(
            "strongroom_inference_prefill_seconds",
            "From a request's first prefill chunk to its first token.",
            PHASE_SECONDS,
        )
        self._decode = self.histogram(
            "strongroom_inference_decode_seconds",
            "From a request's first token on this worker to its end.",
            PHASE_SECONDS,
        )
        self._failures = self.counters(
            "strongroom_inference_failures_total", "Requests that a worker ended as failed, by reason.", REASON
        )
        self._count_as_conventions_say()

    def _count_as_conventions_say(self) -> None:
        self._durations = self.histograms(
            genai.SERVER_DURATION.prometheus,
            "A request from when it was queued until it ended here, the waiting included.",
            genai.SERVER_DURATION.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL, ERROR_TYPE),
        )
        self._first_tokens = self.histograms(
            genai.SERVER_FIRST_TOKEN.prometheus,
            "From when a request was queued until its first token, the waiting included.",
            genai.SERVER_FIRST_TOKEN.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL),
        )
        self._output_tokens = self.histograms(
            genai.SERVER_OUTPUT_TOKEN.prometheus,
            "Mean time between the tokens of an answer, the first left out; of answers that ended well.",
            genai.SERVER_OUTPUT_TOKEN.buckets,
            *(OPERATION, PROVIDER, REQUEST_MODEL),
        )

    def stepped(self, seconds: float) -> None:
        self._step.observe(seconds)

    def first_token(self, run: Run) -> None:
        timing = run.timing
        assert timing is not None, "a token has a time"
        self._first_tokens.of(genai.CHAT, genai.OURS, run.job.body.model).observe(
            _since_queued(run, timing.first_token_ns)
        )
        self._queue.of(run.job.body.priority).observe(run.queue_seconds)
        self._prefill.observe(max(timing.first_token_ns - timing.prefill_started_ns, 0) / 1e9)

    def ended(self, run: Run) -> None:
        model, now = (genai.CHAT, genai.OURS, run.job.body.model), time.monotonic_ns()
        self._durations.of(*model, _error(run)).observe(_since_queued(run, now))
        if run.finish == pb.FINISH_FAILED:
            self._failures.of(run.failure).inc()
        if run.timing is None or not run.timing.first_token_ns:
            return
        decoding = max(now - run.timing.first_token_ns, 0) / 1e9
        self._decode.observe(decoding)
        tokens = run.output_tokens - len(run.emitted) - 1
        if tokens > 0 and not _error(run):
            self._output_tokens.of(*model).observe(decoding / tokens)

    def watch(self, worker: Worker) -> None:
        runs, demand = worker.runs, worker.demand
        self._watch_slots(runs)
        self._watch_tokens(runs)
        self._watch_health(worker)
        self.gauge_by(
            "strongroom_inference_waiting_requests",
            "Jobs of this worker's model that no worker has been given yet.",
            PRIORITY,
            lambda: demand.waiting,
        )
        self.counted_by(
            "strongroom_inference_claimed_tokens_total",
            "What the jobs that this worker took on cost: prompt, as its bytes let expect, and longest answer.",
            PRIORITY,
            lambda: runs.claimed_tokens,
        )
        self.counted(
            "strongroom_inference_slot_fill_total",
            "Sum, over samples with demand, of running / min(slots, running + waiting). Divide by demand_samples.",
            lambda: demand.fill,
        )
        self.counted(
            "strongroom_inference_demand_samples_total",
            "Samples, two a second, in which something ran or waited.",
            lambda: demand.samples,
        )
        self.counted_by(
            "strongroom_inference_events_total",
            "What happened to jobs and requests: ends, refusals, drops, lost leases.",
            EVENT,
            lambda: runs.counters,
        )

    def _watch_slots(self, runs: Runs) -> None:
        self.gauge("strongroom_inference_slots", "Requests that can run at a time.", lambda: runs.slots)
        self.gauge("strongroom_inference_running_requests", "Requests that run now.", lambda: runs.running)
        self.gauge("strongroom_inference_kv_tokens", "Size of the KV cache.", lambda: runs.engine.capacity().tokens)
        self.gauge(
            "strongroom_inference_kv_used_tokens",
            "What of the KV cache is reserved for requests that run.",
            lambda: runs.engine.capacity().tokens - runs.engine.capacity().free_tokens,
        )

    def _watch_tokens(self, runs: Runs) -> None:
        self.counted("strongroom_inference_steps_total", "Steps of the engine.", lambda: runs.engine.load().steps)
        self.counted(
            "strongroom_inference_prompt_tokens_total", "Tokens prefilled.", lambda: runs.engine.load().prompt_tokens
        )
        self.counted(
            "strongroom_inference_output_tokens_total", "Tokens generated.", lambda: runs.engine.load().output_tokens
        )
        self.counted(
            "strongroom_inference_computed_tokens_total",
            "Rows times columns run through the model, padding and failed passes included, wrong guesses not.",
            lambda: runs.engine.load().computed_tokens,
        )
        self.counted(
            "strongroom_inference_useful_tokens_total",
            "What of the computed ones was a request's own token. Divide by computed_tokens.",
            lambda: runs.engine.load().useful_tokens,
        )

        self._watch_memory(runs)

    def _watch_memory(self, runs: Runs) -> None:
        self.gauge(
            "strongroom_inference_kv_waiting_requests",
            "Requests that this worker holds and that wait for room in its KV cache.",
            lambda: runs.engine.load().waiting,
        )
        self.counted(
            "strongroom_inference_preempted_total",
            "Times that a request gave its slot to a more urgent one; its tokens are prefilled again.",
            lambda: runs.engine.load().preempted,
        )
        self.counted(
            "strongroom_inference_memory_short_total",
            "Passes that memory did not suffice for; the next ones carry less.",
            lambda: runs.engine.load().memory_short,
        )
        self.counted(
            "strongroom_inference_requeued_total",
            "Requests that wait until another has ended, because memory did not suffice for both.",
            lambda: runs.engine.load().requeued,
        )

        self.counted(
            "strongroom_inference_guessed_tokens_total",
            "Tokens that were run in advance, because the text had gone on so before (prompt lookup).",
            lambda: runs.engine.load().guessed,
        )
        self.counted(
            "strongroom_inference_guessed_right_total",
            "Tokens run in advance that were then chosen.",
            lambda: runs.engine.load().guessed_right,
        )
        self.counted(
            "strongroom_inference_prefix_asked_tokens_total",
            "Tokens of requests whose start was looked for among the kept prefixes.",
            lambda: runs.engine.load().prefix_asked,
        )
        self.counted(
            "strongroom_inference_prefix_found_tokens_total",
            "Tokens that were found there and not computed again. Divide by prefix_asked_tokens.",
            lambda: runs.engine.load().prefix_found,
        )

    def _watch_health(self, worker: Worker) -> None:
        self.gauge(
            "strongroom_inference_heartbeat_age_seconds",
            "Since the engine's thread last came round; 0 while it has nothing to do.",
            lambda: _age(worker.runs.engine.heartbeat()),
        )
        self.gauge(
            "strongroom_inference_engine_alive", "1 while the engine's thread runs.",
            lambda: worker.runs.engine.heartbeat().alive,
        )  # fmt: skip
        self.gauge("strongroom_inference_ready", "1 while this worker takes work.", lambda: not worker.not_ready)
        self.info(
            "strongroom_inference_model_info", "1 for the model that this worker serves.", MODEL_LABELS,
            lambda: _model(worker.model, worker.engine_name),
        )  # fmt: skip


def _since_queued(run: Run, now_ns: int) -> float:
    """The wait by the wall clock, as it began in another process; the rest by this one's monotonic clock."""
    return run.queue_seconds + max(now_ns - run.taken_ns, 0) / 1e9


def _error(run: Run) -> str:
    if run.finish in (pb.FINISH_STOP, pb.FINISH_LENGTH):
        return ""
    return run.failure or pb.Finish.Name(run.finish).removeprefix("FINISH_")


def _age(beat: Heartbeat) -> float:
    if beat.alive and not beat.busy:
        return 0.0
    return max(time.monotonic_ns() - beat.last_ns, 0) / 1e9


def _model(model: ModelInfo, engine: str) -> tuple[str, ...]:
    dtype = f"{model.dtype}, weights {model.quantization}" if model.quantization else model.dtype
    return model.name, engine, dtype, model.device, model.attention
