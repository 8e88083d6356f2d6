"""What the workers' words mean to a request."""

from __future__ import annotations

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

from chassis.failures import Unavailable
from services.gateway.queue_client import _step, _Steps


class EndedReply:
    """A reply of which nothing more comes."""

    async def next(self, tokens=1) -> list[pb.StepDelta]:
        return []


def test_a_finish_that_only_a_newer_worker_knows_is_a_failure_and_no_silence():
    delta = pb.StepDelta.FromString(pb.StepDelta(text="x").SerializeToString() + b"\x18\x06")  # finish = 6
    assert _step(delta).finish == "FAILED"


async def test_asking_on_after_the_last_item_ends_instead_of_spinning():
    with pytest.raises(Unavailable):
        await _Steps(EndedReply()).take()  # type: ignore[arg-type]
