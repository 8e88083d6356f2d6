"""A record holds the tokens of prompt and answer, and what made them."""

from __future__ import annotations

import asyncio
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from services.gateway.queue_client import made_by
from services.gateway.requests import fields
from services.gateway.requests.outcome import CANCELLED, End, Made, Step

MADE = Made(prompt=[1, 2, 3], tokens=[7, 49_151], by=[{"engine": "torch", "batch_invariant": True}])


def generation(bench):
    ended = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    return [json.loads(kept["generation"]) if "generation" in kept else None for _, kept in ended]


async def asked(bench):
    life = bench.life()
    await asyncio.gather(bench.events(life), life.run())


async def test_the_end_of_a_request_has_its_tokens(bench):
    """Fails if Closing leaves them out."""
    bench.queue.made = MADE
    await asked(bench)
    assert generation(bench) == [
        {
            "choices": [{"made_by": [{"batch_invariant": True, "engine": "torch"}], "token_ids": [7, 49_151]}],
            "prompt_token_ids": [1, 2, 3],
        }
    ]


async def test_so_has_one_that_was_cancelled_on_the_way(bench):
    bench.queue.made, bench.queue.script = MADE, [Step("Hello")]
    life = bench.life()
    task = asyncio.create_task(life.run())
    while "RELEASE" not in bench.audit.kinds(life.terms.request_id):
        await life.next_event()
    assert life.cancel(End(CANCELLED))
    await task
    assert generation(bench)[0]["choices"][0]["token_ids"] == [7, 49_151]


async def test_a_worker_of_an_earlier_version_tells_none_and_the_record_is_whole_without(bench):
    await asked(bench)
    assert generation(bench) == [None]


def test_more_tokens_than_a_record_has_room_for_are_not_kept_in_part():
    """Fails if the prompt does not count."""
    most = Made(prompt=[1] * fields.MOST_TOKENS)
    assert fields.generation([Made(prompt=[1], tokens=[1] * (fields.MOST_TOKENS - 1))])
    assert fields.generation([Made(prompt=most.prompt, tokens=[1])]) is None


@given(
    st.lists(st.integers(0, 2**32 - 1)),
    st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1), min_size=1, max_size=3),
)
def test_its_bytes_are_canonical(prompt, answers):
    written = fields.generation([Made(prompt, tokens, MADE.by) for tokens in answers])
    assert written == rfc8785.dumps(json.loads(written))


def test_what_made_it_is_told_in_words_every_one_of_them():
    told = made_by(pb.Provenance(model="m", weights_digest=b"\x01\x02", batch_invariant=True).SerializeToString())
    assert set(told) == {field.name for field in pb.Provenance.DESCRIPTOR.fields}
    assert (told["model"], told["weights_digest"], told["batch_invariant"]) == ("m", "0102", True)


@pytest.mark.parametrize("digest", ["", "ab" * 32])
def test_a_digest_that_nobody_knows_is_told_empty(digest):
    assert made_by(pb.Provenance(weights_digest=bytes.fromhex(digest)).SerializeToString())["weights_digest"] == digest
