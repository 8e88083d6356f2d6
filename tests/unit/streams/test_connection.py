"""Which errors mean that Redis takes no work now, in the words of each way to hear them."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError, TimeoutError

from streams.connection import out_of_service

REFUSED = "NOREPLICAS Not enough good replicas to write."


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (RedisConnectionError("gone"), True),
        (TimeoutError("late"), True),
        (OSError("refused"), True),
        (ResponseError(REFUSED), True),
        (ResponseError(f"Command # 1 (SET a 1) of pipeline caused error: {REFUSED}"), True),
        (ResponseError(f"Command # 1 (SET a 1) of pipeline caused error: ('{REFUSED}',)"), True),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (ResponseError("ERR caused error: a word of ours"), False),
        (ValueError("OOM"), False),
    ],
)
def test_away_is_told_from_wrong(error: Exception, away: bool) -> None:
    assert out_of_service(error) is away
