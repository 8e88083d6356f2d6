"""Connections to Redis: one kind for commands, one for reads that block."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError, TimeoutError

Connection = Any  # a redis.asyncio.Redis, whose own types answer for every protocol and decoding at once

CONNECT_SECONDS = 0.3
COMMAND_SECONDS = 1.0
BLOCK_MS = 300  # the longest blocking read: how soon a reader sees that it shall stop
MAX_CONNECTIONS = 64

# Redis away, starting (LOADING is a ConnectionError), or refusing writes while it cannot persist (a ResponseError).
NOT_NOW = ("MISCONF", "OOM", "READONLY", "LOADING", "NOREPLICAS", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
AWAY = (RedisConnectionError, TimeoutError, OSError)


def command_client(url: str) -> Connection:
    """For commands that answer at once. A broken connection gets one retry, because a restarted Redis leaves dead ones
    in the pool: so everything sent through it may arrive twice. A Redis that hangs gets none."""
    pool = BlockingConnectionPool.from_url(  # one that waits: a burst of commands is no outage
        url,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=COMMAND_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        max_connections=MAX_CONNECTIONS,
        protocol=2,
        driver_info=None,
    )
    return Redis.from_pool(pool)


def blocking_client(url: str) -> Connection:
    """One connection for one reader that blocks up to BLOCK_MS; nobody cancels it inside a read.

    It does not retry: the reader wants to know that Redis was away. The timeout only notices a peer that vanished.
    """
    return Redis.from_url(
        url,
        single_connection_client=True,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=BLOCK_MS / 1000 + 4,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )


def out_of_service(error: Exception) -> bool:
    """Whether the error means that Redis takes no work now, and may later."""
    # A pipeline puts its own words before Redis' answer, which it quotes.
    answer = str(error).rpartition("caused error: ")[2].lstrip("('\"")
    return isinstance(error, AWAY) or (isinstance(error, ResponseError) and answer.startswith(NOT_NOW))
