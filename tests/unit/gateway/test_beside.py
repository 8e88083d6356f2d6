"""What the guard is given to look through beside the messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.requests.beside import texts_beside
from services.gateway.requests.outcome import Finding
from services.gateway.requests.sampling import Sampling

LITERALS = st.one_of(st.text(max_size=8), st.integers(0, 10**16))
SCHEMAS = st.recursive(
    LITERALS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner))
)


def literals(schema: object) -> list[str]:
    if isinstance(schema, dict):
        return [text for name, member in schema.items() for text in (name, *literals(member))]
    if isinstance(schema, list):
        return [text for member in schema for text in literals(member)]
    return [str(schema)]


@given(SCHEMAS, st.booleans())
def test_every_name_string_and_number_of_a_schema_is_among_them_however_it_is_escaped(
    schema: object, ascii: bool
) -> None:
    """Fails if names are left out, or `text` is given as it stands: JSON may escape every character."""
    beside = texts_beside(Sampling(json_schema=json.dumps(schema, ensure_ascii=ascii)))
    assert beside.fields == ("prompt.sampling.json_schema",)
    at = 0
    for literal in literals(schema):
        at = beside.texts[0].index(literal, at) + len(literal)


@pytest.mark.parametrize(
    ("pattern", "seen"),
    [
        (r"zhang\.wei@example\.com", "zhang.wei@example.com"),
        (r"\x31\u0033\x{39}12345678", "13912345678"),
        (r"1[3-9]\d{9}", r"1[3-9]\d{9}"),
        (r"\U0001F512\uD800\x{FFFFFFFF}", "\U0001f512\\uD800\\x{FFFFFFFF}"),
    ],
)
def test_a_regular_expression_is_read_as_it_matches_too(pattern: str, seen: str) -> None:
    regex, schema = Sampling(regex=pattern), Sampling(json_schema=json.dumps({"pattern": pattern}))
    for asked in (regex, schema):
        (text,) = texts_beside(asked).texts
        assert pattern in text and seen in text


def test_stop_strings_are_looked_through_and_most_requests_have_nothing_beside() -> None:
    assert texts_beside(Sampling(temperature=0.5, logit_bias=((1, 1.0),))).texts == ()
    both = texts_beside(Sampling(stop=("one", "two"), regex="x"))
    assert both.fields == ("prompt.sampling.regex", "prompt.sampling.stop")
    assert both.texts == ("x", "one ; two")


def test_a_refusal_names_the_field_and_the_class_and_quotes_nothing() -> None:
    beside = texts_beside(Sampling(stop=("13912345678",), regex="x"))
    error = beside.refusal([Finding("MOBILE_NUMBER", 0, 11, "C2", "prompt", message_index=1)])
    assert (error.field, error.reason) == ("prompt.sampling.stop", "CANNOT_BE_MASKED")
    assert "MOBILE_NUMBER" in str(error) and "take it out" in str(error) and "139" not in str(error)


def test_what_is_no_json_is_given_as_it_stands() -> None:
    for text in ("{13912345678", "[" * 20_000):
        assert texts_beside(Sampling(json_schema=text)).texts == (text,)
