"""Grammars are read before anything is accepted, in a process that is ended when one keeps it busy."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from chassis.failures import InvalidArgument, ResourceExhausted
from services.gateway.grammar_check import GrammarCheck

FIELD = "prompt.sampling.json_schema"
# Reading it means to decide whether any text matches 200 patterns at once: minutes, and nothing bounds it.
EXPLODES = json.dumps(
    {"allOf": [{"type": "string", "pattern": "(a|b|c|d|e)*%s.{%d}" % ("abcde"[n % 5], n)} for n in range(200)]}  # noqa: UP031
)


@pytest.fixture
async def check():
    async with GrammarCheck(read_seconds=30).running() as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("REGEX", "[a-z", "unclosed character class"),
        ("REGEX", "a(?=b)", "look-around"),
        ("JSON_SCHEMA", "{", ""),
        ("JSON_SCHEMA", '{"type":"objekt"}', "objekt"),
        ("JSON_SCHEMA", '{"type":"string","not":{"const":"a"}}', "not"),
        ("JSON_SCHEMA", '{"a":' * 5000, ""),
    ],
)
async def test_a_grammar_that_cannot_be_used_names_its_field_and_what_is_wrong(check, kind, text, said):
    with pytest.raises(InvalidArgument) as refused:
        await check.check(kind, text, FIELD)
    assert (refused.value.field, refused.value.reason) == (FIELD, "GRAMMAR_REFUSED")
    assert said in str(refused.value) and len(str(refused.value)) < 400
    await check.check("REGEX", "yes|no", FIELD)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("REGEX", "(13812345678"),
        ("REGEX", "(?=zhang.wei@example.com)a"),
        ("JSON_SCHEMA", '{"type":"Zhang Wei 13812345678"}'),
        ("JSON_SCHEMA", '{"$ref":"#/definitions/13812345678"}'),
        ("JSON_SCHEMA", '{"type":"string","pattern":"(13812345678"}'),
        ("JSON_SCHEMA", '{"type":"张伟"}'),
    ],
)
async def test_invariant_3_what_is_wrong_with_a_grammar_quotes_no_personal_data(check, kind, text):
    """Fails if `fault` gives the library's own words, which quote the grammar."""
    with pytest.raises(InvalidArgument) as refused:
        await check.check(kind, text, FIELD)
    said = str(refused.value)
    assert not any(secret in said for secret in ("138", "Zhang", "Wei", "zhang", "example", "张"))


async def test_a_grammar_that_explodes_is_given_up_and_the_next_one_is_read():
    """Fails if `_fault` gives up without ending the process: the next one would wait behind it."""
    async with GrammarCheck(read_seconds=1).running() as check:
        with pytest.raises(InvalidArgument) as refused:
            await check.check("JSON_SCHEMA", EXPLODES, FIELD)
        assert (refused.value.reason, refused.value.field) == ("GRAMMAR_TOO_COMPLEX", FIELD)
        assert "simpler" in str(refused.value)
    async with GrammarCheck(read_seconds=30).running() as check:
        reading = asyncio.create_task(check.check("JSON_SCHEMA", EXPLODES, FIELD))
        while check._process is None or not check._waiting:
            await asyncio.sleep(0.01)
        reading.cancel()  # its caller left
        with pytest.raises(asyncio.CancelledError):
            await reading
        await check.check("REGEX", "yes|no", FIELD)


async def test_invariant_6_only_so_many_wait_to_be_read():
    """Fails if `check` does not look how many wait."""
    async with GrammarCheck(read_seconds=30, max_waiting=2).running() as check:
        reading = [asyncio.create_task(check.check("REGEX", f"a{{{n}}}", FIELD)) for n in range(3)]
        ended = await asyncio.gather(*reading, return_exceptions=True)
    assert ended[:2] == [None, None] and isinstance(ended[2], ResourceExhausted) and ended[2].retry_after_seconds


async def test_what_was_found_sound_is_not_read_again(check):
    await check.check("REGEX", "yes|no", FIELD)
    await check._end()
    await check.check("REGEX", "yes|no", FIELD)
    assert check._process is None


async def test_invariant_3_what_the_reading_process_says_reaches_no_log(capfd):
    """Fails if `_start` lets the process have the gateway's own standard error."""
    async with GrammarCheck(read_seconds=30).running() as check:
        await check.check("REGEX", "yes|no", FIELD)
        assert check._process is not None and check._process.stderr is None
        error = os.readlink(f"/proc/{check._process.pid}/fd/2")
    assert error == os.devnull and capfd.readouterr().err == ""
