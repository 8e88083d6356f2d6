"""Who shares what was computed of a common beginning: jobs through a real queue, and hits counted by the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.worker.prefix_scope import CALLER, OFF, TENANT, prefix_scope

OPENING = "the same long beginning of every prompt " * 6


async def run(queue: Any, make_job: Any, tenant: str, caller: str) -> None:
    job = make_job(f"r-{uuid4().hex}", text=OPENING, max_tokens=2, tenant=tenant, caller=caller)
    reply = await queue.submit(job)
    while not any(delta.finish for delta in await reply.next()):
        pass


@pytest.mark.parametrize(
    ("scope", "shares"),
    [
        (CALLER, {"own": True, "colleague's": False, "other tenant's": False}),
        (TENANT, {"own": True, "colleague's": True, "other tenant's": False}),
        (OFF, {"own": False, "colleague's": False, "other tenant's": False}),
    ],
)
async def test_a_prompts_beginning_is_found_within_its_scope_only(
    scope: str,
    shares: dict[str, bool],
    redis_url: str,
    worker: Any,
    gateway: Any,
    make_job: Any,
    torch_engine: Callable[..., Any],
) -> None:
    """By tokens found, and by those that had to be computed. Fails if the caller is left out of its scope."""
    engine = torch_engine()
    who = {"own": ("t", "a"), "colleague's": ("t", "b"), "other tenant's": ("u", "a")}
    async with worker(redis_url, engine=engine, prefix_scope=scope), gateway(redis_url) as queue:
        await run(queue, make_job, "t", "a")
        whole = engine.load().prompt_tokens
        assert engine.load().prefix_found == 0 < whole
        for asker, shared in shares.items():
            before = engine.load()
            await run(queue, make_job, *who[asker])
            after = engine.load()
            assert (after.prefix_found > before.prefix_found) is shared, asker
            assert (after.prompt_tokens - before.prompt_tokens < whole) is shared, asker


@given(st.lists(st.tuples(st.text(max_size=4), st.text(min_size=1, max_size=4)), min_size=2, max_size=2))
def test_scopes_of_callers_are_equal_for_the_same_caller_only(pairs: list[tuple[str, str]]) -> None:
    """Fails if tenant and caller are put together without the tenant's length."""
    one, other = (prefix_scope(CALLER, pb.JobBody(tenant=tenant, caller=caller)) for tenant, caller in pairs)
    assert (one == other) is (pairs[0] == pairs[1])


def test_a_job_that_names_no_caller_shares_nothing_in_a_callers_scope() -> None:
    assert prefix_scope(CALLER, pb.JobBody(tenant="t")) == ""
