"""A run numbers its items without a gap and keeps each until Redis surely has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.protocol import Failure, Finish, StepOutput, Timing
from services.inference.worker.run import MAX_ITEMS_A_CALL, Run
from streams.items import ItemSealer
from streams.jobs import Entry, OpenedJob
from streams.seal import STEP, QueueKeys
from streams.worker import Advance, Claim, ClaimState

KEYS = QueueKeys(bytes(32))
EPOCH = 7


def claimed(written_before: int = 0) -> Run:
    entry = Entry(work="sr:work:m:interactive:0", entry_id="1-1", request_id="r", key_id="", sealed=b"")
    job = OpenedJob(entry=entry, body=pb.JobBody(request_id="r", gateway_boot_id="g"), queued_ns=0, kept_until_ms=0)
    claim = Claim(state=ClaimState.CLAIMED, epoch=EPOCH, deliveries=1, log=(b"",) * written_before)
    run = Run(job, claim, ItemSealer(KEYS, "r", EPOCH), (0,) * written_before, admitted_ns=1_000_000_000)
    run.posted_ns = 100
    return run


def output(n: int, *, admitted_ns: int = 100, **more: object) -> StepOutput:
    values = {
        "token_ids": (n,), "text": f"w{n} ", "finish": None, "input_tokens": 3, "output_tokens": n + 1,
        "timing": Timing(admitted_ns=admitted_ns), **more,
    }  # fmt: skip
    return StepOutput(request_id="r", **values)


def made(run: Run, *tokens: int) -> None:
    """Each passed on by itself."""
    for n in tokens:
        assert run.take(output(n))
        run.pass_on()


def opened(advance: Advance) -> list[pb.StepDelta]:
    """As the gateway reads it; fails if an item is not sealed under its own number."""
    items = [item for sent in advance.items for item in pb.StepFrame.FromString(sent).items]
    assert [item.n for item in items] == list(range(advance.first, advance.first + len(items)))
    cipher = KEYS.cipher("r", EPOCH, STEP)
    return [pb.StepDelta.FromString(cipher.open(item.n, item.sealed)) for item in items]


def test_items_go_on_from_what_earlier_claims_wrote() -> None:
    run = claimed(written_before=4)
    made(run, 4)
    [delta] = opened(run.advance())
    assert run.advance().first == 4
    assert (delta.text, delta.output_tokens, delta.admit_time.seconds) == ("w4 ", 5, 1)


def test_only_the_first_item_of_a_claim_says_when_it_was_admitted() -> None:
    run = claimed()
    made(run, 0, 1)
    assert [delta.HasField("admit_time") for delta in opened(run.advance())] == [True, False]


def test_what_is_written_is_not_sent_again_and_what_is_not_is() -> None:
    run = claimed()
    made(run, 0)
    sent = run.advance()
    made(run, 1)
    assert run.waiting
    run.written(sent)
    assert (run.advance().first, len(run.advance().items)) == (1, 1)
    run.written(run.advance())
    assert not run.waiting
    assert run.advance().items == []


@given(st.lists(st.integers(0, 12), max_size=6))
def test_invariant_8_after_any_gap_the_same_bytes_are_sent_again(gaps: list[int]) -> None:
    """Fails if `_seal` is called again for an item: another ciphertext under the same nonce."""
    run = claimed(written_before=2)
    made(run, *range(2, 12))
    original = list(run.advance().items)
    for gap in gaps:
        run.written(run.advance())
        assert run.send_again_from(gap) == (gap >= 2)
        if gap >= 2:
            assert list(run.advance().items) == original[gap - 2 :]


def test_the_end_is_marked_only_in_the_call_that_carries_it() -> None:
    run = claimed()
    made(run, *range(MAX_ITEMS_A_CALL + 1))
    run.end(pb.FINISH_CANCELLED)
    first = run.advance()
    assert (len(first.items), first.last) == (MAX_ITEMS_A_CALL, False)
    run.written(first)
    assert (len(run.advance().items), run.advance().last) == (2, True)


def test_an_ended_run_takes_nothing_more() -> None:
    run = claimed()
    run.end(pb.FINISH_EXPIRED)
    run.end(pb.FINISH_CANCELLED)
    assert not run.take(output(0))
    [delta] = opened(run.advance())
    assert delta.finish == pb.FINISH_EXPIRED


def test_outputs_of_an_earlier_admission_are_not_taken() -> None:
    run = claimed()
    assert not run.take(output(0, admitted_ns=99))
    assert run.advance().items == []


@pytest.mark.parametrize(
    ("more", "finish", "failure"),
    [
        ({"finish": Finish.STOP}, pb.FINISH_STOP, ""),
        ({"finish": Finish.LENGTH}, pb.FINISH_LENGTH, ""),
        ({"failure": Failure.OUT_OF_MEMORY}, pb.FINISH_FAILED, "OUT_OF_MEMORY"),
    ],
)
def test_an_engine_s_end_is_the_request_s_end(more: dict[str, object], finish: int, failure: str) -> None:
    run = claimed()
    assert run.take(output(0, **more))
    [delta] = opened(run.advance())
    assert (delta.finish, delta.failure, run.ended, run.advance().last) == (finish, failure, True, True)


def test_a_step_that_made_nothing_is_no_item() -> None:
    run = claimed()
    assert not run.take(output(0, token_ids=(), text=""))
    assert run.input_tokens == 3
    assert run.advance().items == []


def test_the_first_tokens_and_the_end_are_sealed_at_once_and_the_rest_together() -> None:
    run = claimed()
    for n in range(20):
        if n == 12:
            run.pass_on()
        run.take(output(n, finish=Finish.STOP if n == 19 else None))
        assert run.waiting
    deltas = opened(run.advance())
    assert [len(delta.token_ids) for delta in deltas] == [1, 1, 1, 9, 8]
    assert "".join(delta.text for delta in deltas) == "".join(f"w{n} " for n in range(20))


def test_an_end_from_outside_leaves_nothing_of_what_was_made_behind() -> None:
    """A takeover goes on after the last sealed token, and an end that no engine made holds none (`Reply.feed`)."""
    run = claimed()
    run.take(output(0))
    run.take(output(1))
    run.end(pb.FINISH_CANCELLED)
    assert [(list(delta.token_ids), delta.finish) for delta in opened(run.advance())] == [
        ([0], 0), ([1], 0), ([], pb.FINISH_CANCELLED),
    ]  # fmt: skip


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 20))
def test_however_it_is_cut_every_token_is_passed_on_once_and_in_order(cuts: list[bool], before: int) -> None:
    """Fails if `_seal` does not begin a new gathering."""
    run = claimed(written_before=before)
    for n, cut in enumerate(cuts):
        run.take(output(before + n))
        if cut:
            run.pass_on()
    run.pass_on()
    told = [token for delta in opened(run.advance()) for token in delta.token_ids]
    assert told == [before + n for n in range(len(cuts))]


def test_the_first_item_of_a_claim_tells_the_prompt_and_what_makes_the_answer_and_no_other_does() -> None:
    run = claimed(written_before=2)
    run.provenance = pb.Provenance(model="m", engine="torch")
    for n in (2, 3):
        assert run.take(output(n, prompt=[5, 6, 7]))
        run.pass_on()
    first, second = opened(run.advance())
    assert (first.provenance, list(first.prompt_token_ids)) == (run.provenance, [5, 6, 7])
    assert not second.HasField("provenance") and not second.prompt_token_ids
