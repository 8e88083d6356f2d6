"""How much of the context one request gets, and what is said where memory has no room for one."""

from __future__ import annotations

import pytest

from services.inference.engine.sizing import NoRoom, Place, context_of, kv_sizes


@pytest.mark.parametrize(
    ("asked", "known", "context"),
    [(2048, 8192, 2048), (8192, 2048, 2048), (0, 8192, 8192), (2048, 0, 2048), (0, 0, 0)],
)
def test_a_request_gets_what_is_asked_for_and_no_more_than_the_model_knows(
    asked: int, known: int, context: int
) -> None:
    assert context_of(asked, known) == context


def test_without_room_for_one_request_the_need_the_place_and_the_remedy_are_named() -> None:
    place = Place(name="cuda:1", free=512 << 20, token_bytes=1 << 20, whole_slots=True)
    with pytest.raises(NoRoom, match=r"needs 1024 MiB of KV cache on cuda:1, of 512 MiB free: lower context_tokens"):
        kv_sizes([place], slots=4, slot=1024, share=0.9)
