"""What an item's digest and size cover, and which ids there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from services.audit.records.entries import Accept, End, Ending, Release, RequestItem, item_digest, item_size
from services.audit.records.validity import is_id

TEXT, BYTES = st.text(max_size=30), st.binary(max_size=600)
PLACE = {"record_id": TEXT, "boot": TEXT, "sequence": st.integers(0, 2**53)}
FIELDS = st.dictionaries(st.sampled_from(["request_received", "findings", "answer_released"]), BYTES)
ACCEPTS = st.builds(
    Accept,
    **PLACE,
    tenant=TEXT,
    caller=TEXT,
    subject=TEXT,
    deadline_ms=st.integers(0, 2**53),
    job_digests=st.lists(BYTES, max_size=3).map(tuple),
    fields=FIELDS,
)
RELEASES = st.builds(Release, **PLACE, n=st.integers(0, 2**32), body=BYTES)
ENDS = st.builds(
    End,
    **PLACE,
    end=st.sampled_from(Ending),
    reason=TEXT,
    usage=st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), st.integers(0, 2**40)),
    fields=FIELDS,
)
ITEMS = st.one_of(ACCEPTS, RELEASES, ENDS)


def slow_digest(item: RequestItem) -> bytes:
    """Type and fields in order, each behind its length as eight bytes; a mapping or a tuple behind its count."""
    parts = [type(item).__name__.encode()]

    def add(value: object) -> None:
        if isinstance(value, bytes):
            parts.append(value)
        elif isinstance(value, Mapping):
            parts.append(str(len(value)).encode())
            for name in sorted(value):
                parts.append(name.encode())
                add(value[name])
        elif isinstance(value, tuple):
            parts.append(str(len(value)).encode())
            for each in value:
                add(each)
        else:
            parts.append(str(value).encode(errors="surrogatepass"))

    for value in vars(item).values():
        add(value)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


@given(ITEMS)
def test_an_item_is_known_by_the_same_digest_as_ever(item: RequestItem) -> None:
    """Journals hold these: an item that is sent again after an update must be known. Fails if a length is cut."""
    assert item_digest(item) == slow_digest(item)


@given(RELEASES, BYTES)
def test_other_content_has_another_digest(item: Release, body: bytes) -> None:
    assert (item_digest(replace(item, body=body)) == item_digest(item)) == (body == item.body)


@given(ITEMS)
def test_the_size_is_that_of_all_texts_and_contents(item: RequestItem) -> None:
    size = 0
    for value in vars(item).values():
        if isinstance(value, Mapping):
            size += sum(len(name) + (len(each) if isinstance(each, bytes) else 8) for name, each in value.items())
        elif isinstance(value, tuple):
            size += sum(map(len, value))
        elif isinstance(value, str | bytes):
            size += len(value)
    assert item_size(item) == size


@given(st.text(max_size=70) | st.text(st.characters(max_codepoint=0x80), max_size=70))
def test_an_id_has_1_to_64_visible_ascii_characters(text: str) -> None:
    """Fails if a space, a tab, DEL or a letter outside ASCII is let in."""
    assert is_id(text) == bool(re.fullmatch(r"[\x21-\x7e]{1,64}", text))
