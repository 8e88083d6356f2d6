"""What the workers' words mean to a request."""

from __future__ import annotations

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from chassis.failures import Unavailable, Unimplemented
from services.gateway.queue_client import QueueClient, _common_adapters, _engines, _step, _Steps
from services.gateway.requests.neighbours import NOT_QUANTIZED, Quantization
from services.gateway.requests.question import NO_ADAPTER, Caller, Profile, Sampling
from services.gateway.requests.sampling import Able, check_sampling


class EndedReply:
    """A reply of which nothing more comes."""

    async def next(self, tokens=1) -> list[pb.StepDelta]:
        return []


def test_a_finish_that_only_a_newer_worker_knows_is_a_failure_and_no_silence():
    delta = pb.StepDelta.FromString(pb.StepDelta(text="x").SerializeToString() + b"\x18\x06")  # finish = 6
    assert _step(delta).finish == "FAILED"


async def test_asking_on_after_the_last_item_ends_instead_of_spinning():
    with pytest.raises(Unavailable):
        await _Steps(EndedReply(), EndedReply().next).take()  # type: ignore[arg-type]


def test_an_adapter_counts_only_where_every_worker_of_the_model_has_the_very_same():
    """Fails if the last worker's adapters stand for all: any of them may claim the job."""
    one, two, other = (pb.Worker(model=model) for model in ("m", "m", "other"))
    for worker, name, digest in (
        (one, "both", b"1"), (two, "both", b"1"), (one, "changed", b"1"), (two, "changed", b"2"), (two, "single", b"1"),
        (other, "single", b"1"),
    ):  # fmt: skip
        worker.adapters.add(name=name, digest=digest)
    assert _common_adapters([one, two, other]) == {"m": {"both": b"1"}, "other": {"single": b"1"}}


def test_workers_of_a_model_on_different_engines_are_both_named():
    """Fails if the last worker's engine stands for all: any of them may claim the job."""
    workers = [
        pb.Worker(model="m", engine="torch"),
        pb.Worker(model="m", engine="openvino", engine_version="2026.4.1.0"),
        pb.Worker(model="m", engine="torch"),
        pb.Worker(model="other", engine="echo"),
    ]
    assert _engines(workers) == {"m": "openvino 2026.4.1.0 or torch", "other": "echo"}


class Announced:
    """Streams that know of these workers."""

    def __init__(self, *workers: pb.Worker) -> None:
        self.workers = workers
        for worker in workers:
            worker.seen_time.GetCurrentTime()


@pytest.mark.parametrize("older_first", [True, False])
def test_several_answers_are_refused_while_a_worker_of_the_model_is_too_old_for_them(older_first):
    """Fails if the last worker's word stands for all: the older one drops every answer's job but the first."""
    older = pb.Worker(model="m", lacks=["regex"])
    newer = pb.Worker(model="m", tenant_buckets=8)
    other = pb.Worker(model="other", tenant_buckets=1)
    two = [older, newer] if older_first else [newer, older]
    models = QueueClient(Announced(*two, other), boot_id="b").models()  # type: ignore[arg-type]
    assert {name: model.lacks for name, model in models.items()} == {"m": {"n", "regex"}, "other": frozenset()}
    for n in (None, 1):
        check_sampling(Sampling(n=n), Able(lacks=models["m"].lacks), Profile())
    with pytest.raises(Unimplemented) as caught:
        check_sampling(Sampling(n=2), Able(lacks=models["m"].lacks), Profile())
    assert (caught.value.field, caught.value.reason) == ("prompt.sampling.n", "NOT_SUPPORTED")


def test_a_job_says_for_whom_it_runs():
    """Fails if the caller is left out: workers whose scope is the caller then share no prefix at all."""
    queue = QueueClient(streams=None, boot_id="b")  # type: ignore[arg-type]
    job = queue.job("r-1", (), "m", Sampling(), Caller("firm", "desk"), 1, "standard", NO_ADAPTER)
    body = pb.JobBody.FromString(job.body)
    assert (body.tenant, body.caller) == ("firm", "desk")


def test_workers_that_hold_a_model_differently_are_both_in_the_record():
    """Fails if the last worker's word stands for all."""
    coded = pb.Worker(model="m", quantization="int8", quantization_loss="a little")
    other = pb.Worker(model="other", quantization="int8", quantization_loss="a little")
    told = Announced(coded, pb.Worker(model="m"), other, pb.Worker(model="plain"))
    models = QueueClient(told, boot_id="b").models()  # type: ignore[arg-type]
    assert {name: model.quantization for name, model in models.items()} == {
        "m": Quantization("int8 or none", "a little"),
        "other": Quantization("int8", "a little"),
        "plain": NOT_QUANTIZED,
    }
