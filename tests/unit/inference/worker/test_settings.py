"""Settings of a worker: ports by its number, every mistake named at once."""

import socket

import pytest

from chassis.settings import InvalidSettings, load
from services.inference.engine.echo import EchoEngine
from services.inference.pacing import PacedEngine
from services.inference.settings import InferenceSettings


@pytest.mark.parametrize(("number", "grpc", "http"), [(0, 7402, 7412), (1, 7422, 7423), (2, 7424, 7425)])
def test_each_worker_has_its_ports_and_seat(number: int, grpc: int, http: int) -> None:
    settings = load(InferenceSettings, "inference", {"STRONGROOM_INFERENCE_WORKER": str(number)})
    assert settings.own_address == f"127.0.0.1:{grpc}"
    assert settings.own_http_address == f"127.0.0.1:{http}"
    assert settings.seat == f"worker-{number}"


def test_a_seat_may_be_named_after_the_machine() -> None:
    """Fails if `seat` takes "auto" for a name: replicas would all sit on one seat, and drive each other off it."""
    settings = load(InferenceSettings, "inference", {"STRONGROOM_INFERENCE_HOST": "auto"})
    assert settings.seat == f"{socket.gethostname()}-worker-0"


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(
            InferenceSettings,
            "inference",
            {
                "STRONGROOM_INFERENCE_LEASE_SECONDS": "0",
                "STRONGROOM_INFERENCE_WORKER": "64",
                "STRONGROOM_INFERENCE_TENANT_BUCKETS": "65",
                "STRONGROOM_INFERENCE_ENGINE": "magic",
            },
        )
    text = str(caught.value)
    for part in (
        "LEASE_SECONDS: must be 0.5 to 600",
        "WORKER: must be 0 to 63",
        "TENANT_BUCKETS: must be 1 to 64",
        "ENGINE: must be one of torch, openvino, vllm, echo",
    ):
        assert part in text


def test_a_paced_engine_waits_out_the_rest_of_its_share() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    engine = PacedEngine(EchoEngine(), 10, clock=lambda: now[0], sleep=sleep)
    engine.step()
    now[0] += 0.03
    engine.step()
    now[0] += 5
    engine.step()
    assert slept == [0.07]
