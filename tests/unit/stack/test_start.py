"""What is decided before anything starts: options, ports, plans, Redis."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from chassis.settings import InvalidSettings
from chassis.start import CannotStart
from stack.options import Stack, stack_options
from stack.plan import plans, stop_groups
from stack.ports import free_port_base, taken_ports
from stack.process import Plan
from stack.redis_server import check_external, find_redis_server, write_config
from stack.reporting import last_words
from stack.runfiles import RunFile, start_time
from streams.connection import Connection, command_client


def stack_in(home: Path, **environ: str) -> Stack:
    return stack_options({"home": home}, {"PATH": os.environ["PATH"], **environ})


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_flag_wins_over_the_environment_and_reaches_every_process(tmp_path: Path) -> None:
    flags = {"home": tmp_path, "port_base": 9300, "engine": "echo", "workers": None}
    stack = stack_options(flags, {"STRONGROOM_PORT_BASE": "8000", "STRONGROOM_STACK_WORKERS": "2"})
    assert (stack.options.port_base, stack.options.workers, stack.engine) == (9300, 2, "echo")
    assert stack.environment["STRONGROOM_PORT_BASE"] == "9300"
    assert stack.environment["STRONGROOM_HOME"] == str(tmp_path)
    assert stack.environment["STRONGROOM_INFERENCE_ENGINE"] == "echo"


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as wrong:
        stack_options({"port_base": 80, "workers": 0}, {"STRONGROOM_MODE": "test"})
    assert len(str(wrong.value).splitlines()) == 3
    for name in ("STRONGROOM_PORT_BASE", "STRONGROOM_STACK_WORKERS", "STRONGROOM_MODE"):
        assert name in str(wrong.value)


def test_the_ports_are_those_that_scripts_depend_on(tmp_path: Path) -> None:
    stack = stack_in(tmp_path, STRONGROOM_STACK_WORKERS="3")
    ports = {plan.name: (plan.grpc, plan.http) for plan in plans(stack)}
    assert ports == {
        "redis": ("", ""),
        "gateway": ("127.0.0.1:7400", "127.0.0.1:7410"),
        "guard": ("127.0.0.1:7401", "127.0.0.1:7411"),
        "inference": ("127.0.0.1:7402", "127.0.0.1:7412"),
        "audit": ("127.0.0.1:7403", "127.0.0.1:7413"),
        "monitor": ("127.0.0.1:7404", "127.0.0.1:7414"),
        "inference-1": ("127.0.0.1:7422", "127.0.0.1:7423"),
        "inference-2": ("127.0.0.1:7424", "127.0.0.1:7425"),
    }


def test_a_redis_that_was_named_is_not_started(tmp_path: Path) -> None:
    stack = stack_in(tmp_path, STRONGROOM_REDIS_URL="redis://127.0.0.1:1/0")
    assert "redis" not in {plan.name for plan in plans(stack)}


def test_whoever_uses_another_stops_first() -> None:
    names = ["redis", "audit", "guard", "gateway", "monitor", "inference", "inference-1"]
    assert stop_groups(names) == [["gateway"], ["inference", "inference-1"], ["guard", "monitor"], ["audit"], ["redis"]]


def test_a_taken_port_names_its_holder(plan_for: Callable[..., Plan], taken_port: int) -> None:
    plan = plan_for("audit", "", ports=(f"127.0.0.1:{taken_port}",))
    line, remedy = taken_ports([plan], [])
    assert f"127.0.0.1:{taken_port}, which audit needs, is taken by pid {os.getpid()}" in line
    assert "--port-base" in remedy


def test_a_port_that_an_earlier_run_holds_is_told_apart(plan_for: Callable[..., Plan], taken_port: int) -> None:
    left = RunFile(name="guard", pid=os.getpid(), started=start_time(os.getpid()), since="")
    plan = plan_for("audit", "", ports=(f"127.0.0.1:{taken_port}",))
    line, remedy = taken_ports([plan], [left])
    assert f"is taken by guard of an earlier run, pid {os.getpid()}" in line
    assert "strongroom down" in remedy
    stale = replace(left, started=1.0)
    assert "earlier run" not in taken_ports([plan], [stale])[0]


def test_a_free_port_is_not_reported(plan_for: Callable[..., Plan], taken_port: int) -> None:
    plan = plan_for("audit", "", ports=(f"127.0.0.2:{taken_port}",))
    assert taken_ports([plan], []) == []


def test_whoever_asks_for_ports_is_given_ports_of_their_own() -> None:
    """Fails if `free_port_base` keeps no mark: two that draw the same number at once would both start a stack there."""
    drawn = random.getstate()
    first = free_port_base()
    random.setstate(drawn)
    assert free_port_base() != first


def test_without_a_redis_on_the_path_the_packaged_one_is_used() -> None:
    found = find_redis_server({"PATH": ""})
    assert found.name == "redis-server" and os.access(found, os.X_OK)


def test_a_redis_too_old_for_us_is_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0 malloc=libc bits=64 build=0'\n")
    old.chmod(0o755)
    assert find_redis_server({"PATH": str(tmp_path)}) != old


def test_a_redis_that_is_a_link_is_called_by_its_own_name(tmp_path: Path) -> None:
    """Debian's is a link to redis-check-rdb, which goes by the name it is called by. Fails if the link is resolved."""
    program = tmp_path / "redis-check-rdb"
    program.write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=0 malloc=jemalloc-5.3.0 bits=64 build=0'\n")
    program.chmod(0o755)
    (tmp_path / "redis-server").symlink_to(program)
    assert find_redis_server({"PATH": str(tmp_path)}) == tmp_path / "redis-server"


def test_redis_keeps_what_it_was_told_and_listens_on_loopback_only(tmp_path: Path) -> None:
    config = write_config(tmp_path / "redis", "127.0.0.1:7409").read_text().splitlines()
    assert {"bind 127.0.0.1", "port 7409", "appendonly yes", "maxmemory-policy noeviction"} <= set(config)
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


async def test_a_stacks_processes_reach_its_redis_by_a_socket_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """In a folder with a name that a URL has to quote. Fails if `url_of` does not."""
    stack = stack_in(tmp_path / "ho me%20?", STRONGROOM_PORT_BASE=str(free_port_base()))
    own = {plan.name: plan for plan in plans(stack)}
    url = own["gateway"].environment["STRONGROOM_REDIS_URL"]
    assert url.startswith("unix://") and url == own["inference"].environment["STRONGROOM_REDIS_URL"]
    process = await asyncio.create_subprocess_exec(*own["redis"].command, stdout=asyncio.subprocess.DEVNULL)
    client = command_client(url)
    try:
        async with asyncio.timeout(30):
            while not await answers(client):
                await asyncio.sleep(0.05)
    finally:
        await client.aclose()
        process.kill()
        await process.wait()


async def answers(client: Connection) -> bool:
    try:
        return bool(await client.ping())
    except RedisError:
        return False


def test_in_a_folder_too_deep_for_a_socket_redis_is_reached_by_its_port(tmp_path: Path) -> None:
    stack = stack_in(tmp_path / ("deep" * 30))
    own = {plan.name: plan for plan in plans(stack)}
    assert "STRONGROOM_REDIS_URL" not in own["gateway"].environment
    assert "unixsocket" not in Path(own["redis"].command[1]).read_text()


def test_a_named_redis_that_does_not_answer_is_named_without_its_password(taken_port: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CannotStart) as refused:
            check_external(f"redis://:sesame@127.0.0.1:{port}/0")
    assert f"redis://127.0.0.1:{port}" in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_the_last_words_of_this_life_are_found_not_those_of_an_earlier_one(tmp_path: Path) -> None:
    log = tmp_path / "guard.log"
    log.write_text("guard cannot start:\nold reason\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write('{"event": "loaded"}\n{"event": "gave up", "exception": "OSError"}\n')
    assert last_words(log, since) == "gave up OSError"
    assert last_words(log, 0) == 'old reason\n{"event": "loaded"}\n{"event": "gave up", "exception": "OSError"}'
