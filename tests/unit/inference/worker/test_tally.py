"""A worker counts what it told each gateway the end of, and tells audit until audit has it."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.worker.run import Run
from services.inference.worker.tally import KEPT_GATEWAYS, Tally
from streams.items import ItemSealer
from streams.jobs import Entry, OpenedJob
from streams.seal import QueueKeys
from streams.worker import Claim, ClaimState


class Audit:
    """Takes counts while it is there."""

    def __init__(self) -> None:
        self.there, self.told = True, list[tuple[str, dict[str, int]]]()

    async def tell(self, gateway: str, counts: Mapping[str, int]) -> bool:
        if self.there:
            self.told.append((gateway, dict(counts)))
        return self.there


def ended(finish: pb.Finish.ValueType = pb.FINISH_STOP, tokens: int = 5, gateway: str = "g") -> Run:
    entry = Entry(work="sr:work:m:interactive:0", entry_id="1-1", request_id="r", key_id="", sealed=b"")
    job = OpenedJob(entry=entry, body=pb.JobBody(request_id="r", gateway_boot_id=gateway), queued_ns=0, kept_until_ms=0)
    claim = Claim(state=ClaimState.CLAIMED, epoch=1, deliveries=1, log=())
    run = Run(job, claim, ItemSealer(QueueKeys(bytes(32)), "r", 1), (0,) * tokens, admitted_ns=1)
    run.end(finish)
    return run


async def test_only_answers_that_came_to_their_own_end_count_tokens() -> None:
    tally, audit = Tally(), Audit()
    for finish in (pb.FINISH_STOP, pb.FINISH_LENGTH, pb.FINISH_CANCELLED, pb.FINISH_FAILED, pb.FINISH_EXPIRED):
        tally.told(ended(finish))
    await tally.tell(audit)
    assert audit.told == [("g", {"jobs": 5, "finished": 2, "tokens": 10})]


async def test_each_gateway_is_told_of_by_itself_and_only_when_its_counts_changed() -> None:
    tally, audit = Tally(), Audit()
    tally.told(ended(gateway="a"))
    tally.told(ended(gateway="b"))
    await tally.tell(audit)
    tally.told(ended(gateway="b", tokens=1))
    await tally.tell(audit)
    await tally.tell(audit)
    one = {"jobs": 1, "finished": 1, "tokens": 5}
    assert audit.told == [("a", one), ("b", one), ("b", {"jobs": 2, "finished": 2, "tokens": 6})]


async def test_what_audit_did_not_take_is_told_again() -> None:
    tally, audit = Tally(), Audit()
    tally.told(ended())
    audit.there = False
    await tally.tell(audit)
    audit.there = True
    tally.told(ended())
    await tally.tell(audit)
    assert audit.told == [("g", {"jobs": 2, "finished": 2, "tokens": 10})]


def test_gateways_long_gone_are_forgotten() -> None:
    tally = Tally()
    for n in range(KEPT_GATEWAYS + 5):
        tally.told(ended(gateway=str(n)))
    assert len(tally._gateways) == KEPT_GATEWAYS
