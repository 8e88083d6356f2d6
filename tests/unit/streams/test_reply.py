"""One answer from many deliveries: in order, each item once, never altered."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from streams.failures import ReplyLost
from streams.items import ItemSealer, open_log
from streams.reply import Reply
from streams.seal import QueueKeys

KEYS = QueueKeys(bytes(range(32)))
ANSWER = [pb.StepDelta(token_ids=[n], text=f"w{n} ", output_tokens=n + 1) for n in range(6)]
ANSWER[-1].finish = pb.FINISH_STOP


def items(epoch: int, deltas: list[pb.StepDelta] = ANSWER, keys: QueueKeys = KEYS) -> list[bytes]:
    sealer = ItemSealer(keys, "r", epoch)
    return [sealer.seal(n, delta) for n, delta in enumerate(deltas)]


def feed(reply: Reply, *sent: bytes) -> None:
    for item in sent:
        for step_item in pb.StepFrame.FromString(item).items:
            reply.feed(step_item)


async def received(reply: Reply) -> list[pb.StepDelta]:
    return [delta async for delta in reply]


async def test_an_answer_arrives_whole_and_ends() -> None:
    reply = Reply(KEYS, "r")
    feed(reply, *items(1))
    assert await received(reply) == ANSWER
    assert reply.complete


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(1, 6)), max_size=20))
async def test_any_repetition_under_any_epoch_gives_the_answer_once(runs: list[tuple[int, int, int]]) -> None:
    """Each run sends a stretch again from at or before what was seen, as workers do after a crash."""
    sealed = {epoch: items(epoch) for epoch in (1, 2, 3, 4)}
    reply = Reply(KEYS, "r")
    for epoch, start, length in runs:
        first = min(start, reply.items)
        feed(reply, *sealed[epoch][first : first + length])
    feed(reply, *sealed[4][reply.items :])
    assert await received(reply) == ANSWER


async def test_invariant_8_an_item_that_comes_back_different_ends_the_answer() -> None:
    """Fails if `_deliver` drops every item below the next one without looking."""
    reply = Reply(KEYS, "r")
    feed(reply, *items(1)[:3])
    feed(reply, items(2, [pb.StepDelta(token_ids=[9], text="other")])[0])
    assert [delta.text for delta in await reply.next()] == ["w0 ", "w1 ", "w2 "]
    with pytest.raises(ReplyLost) as caught:
        await reply.next()
    assert caught.value.reason == "REPLY_DIVERGED"


async def test_invariant_8_a_missing_item_ends_the_answer() -> None:
    """Fails if `feed` delivers whatever n comes."""
    reply = Reply(KEYS, "r")
    feed(reply, items(1)[0], items(1)[2])
    assert len(await reply.next()) == 1
    with pytest.raises(ReplyLost) as caught:
        await reply.next()
    assert caught.value.reason == "REPLY_GAP"


async def test_an_end_that_was_decided_may_replace_a_token_that_redis_lost() -> None:
    reply = Reply(KEYS, "r")
    feed(reply, *items(1)[:3])
    feed(reply, *items(2, [ANSWER[0], pb.StepDelta(finish=pb.FINISH_EXPIRED)]))
    assert [delta.finish for delta in await received(reply)] == [0, 0, 0, pb.FINISH_EXPIRED]


async def test_forged_items_are_counted_and_change_nothing() -> None:
    reply = Reply(KEYS, "r")
    feed(reply, *items(1, keys=QueueKeys(b"f" * 32)))
    forged = pb.StepFrame.FromString(items(1)[0]).items[0]
    forged.n = 5
    reply.feed(forged)
    feed(reply, *items(1))
    assert await received(reply) == ANSWER
    assert reply.odd == {"UNKNOWN_KEY": 6, "BROKEN_SEAL": 1}


async def test_the_token_log_can_be_put_back_byte_for_byte() -> None:
    first, second = items(7), items(9)
    reply = Reply(KEYS, "r")
    feed(reply, *first[:2], *second[2:4])
    log = reply.token_log()
    assert log == [first[0], first[1], second[2], second[3]]
    assert open_log(KEYS, "r", log) == (0, 1, 2, 3)


WORDS = [f"w{n} " for n in range(12)]


def cut(*lengths: int) -> list[pb.StepDelta]:
    """The answer of twelve words in pieces of these lengths, the last one whatever is left."""
    deltas, at = [], 0
    for length in (*lengths, len(WORDS)):
        end = min(at + length, len(WORDS))
        if end > at:
            deltas.append(pb.StepDelta(token_ids=range(at, end), text="".join(WORDS[at:end]), output_tokens=end))
        at = end
    deltas[-1].finish = pb.FINISH_STOP
    return deltas


lengths = st.lists(st.integers(1, 5), max_size=12)


@given(st.lists(st.tuples(lengths, st.integers(0, 12), st.integers(1, 12)), max_size=6), lengths)
@example([([2, 1], 0, 2), ([2], 0, 1)], [])
async def test_invariant_8_an_answer_made_again_may_be_cut_elsewhere(
    claims: list[tuple[list[int], int, int]], last: list[int]
) -> None:
    """Each claim begins where a log of earlier claims ends that may have lost its tail. Fails if `_keep` leaves the
    old items behind a new one, or if `_deliver` compares items instead of what is in them."""
    reply, log = Reply(KEYS, "r"), list[pb.StepDelta]()
    for epoch, (pieces, kept, sent) in enumerate([*claims, (last, 12, 12)], start=1):
        log = log[:kept]  # of what Redis had
        done = log[-1].output_tokens if log else 0
        lead = [piece.output_tokens for piece in cut(*pieces) if piece.output_tokens > done]
        made, at = [], done
        for end in lead:
            finish = pb.FINISH_STOP if end == len(WORDS) else 0
            made.append(
                pb.StepDelta(token_ids=range(at, end), text="".join(WORDS[at:end]), output_tokens=end, finish=finish)
            )
            at = end
        sealer = ItemSealer(KEYS, "r", epoch)
        feed(reply, *[sealer.seal(len(log) + n, delta) for n, delta in enumerate(made[:sent])])
        log += made[:sent]
        if reply.complete:
            break
        known = open_log(KEYS, "r", reply.token_log())  # more than Redis has, where a claim repeats an item as it was
        assert known == tuple(range(max(len(known), log[-1].output_tokens if log else 0)))
    got = await received(reply)
    assert "".join(delta.text for delta in got) == "".join(WORDS)
    assert [token for delta in got for token in delta.token_ids] == list(range(len(WORDS)))


async def test_invariant_8_an_answer_that_would_end_before_what_was_seen_ends_lost() -> None:
    """Fails if `_agree` asks only whether one begins the other."""
    reply = Reply(KEYS, "r")
    feed(reply, *items(1)[:4])
    feed(reply, *items(2, [pb.StepDelta(token_ids=[0], text="w0 ", finish=pb.FINISH_STOP)]))
    with pytest.raises(ReplyLost):
        await reply.next()
        await reply.next()
    assert reply.odd["REPLY_DIVERGED"] == 1


async def test_what_made_the_answer_is_told_once_for_all_claims_that_are_alike_and_once_for_each_that_is_not() -> None:
    """Fails if `_note_maker` notes every claim, or only the first."""
    one, other = pb.Provenance(model="m", dtype="float32"), pb.Provenance(model="m", dtype="bfloat16")
    reply = Reply(KEYS, "r")
    for epoch, first, maker in ((1, 0, one), (2, 2, one), (3, 4, other)):
        sealer = ItemSealer(KEYS, "r", epoch)
        claimed = pb.StepDelta(provenance=maker, prompt_token_ids=[7, 8])
        claimed.MergeFrom(ANSWER[first])
        feed(reply, sealer.seal(first, claimed), sealer.seal(first + 1, ANSWER[first + 1]))
    assert (reply.made_by, list(reply.prompt_token_ids), list(reply.token_ids)) == ([one, other], [7, 8], [*range(6)])
