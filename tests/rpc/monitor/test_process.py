"""The monitor as a process of its own."""

import asyncio
import json
import os
import signal
import sys

import httpx
import pytest

from stack.ports import free_port_base


def environment(tmp_path, **more):
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "credentials.json").write_text(json.dumps({"credentials": []}))
    (keys / "service-monitor").write_text("service-monitor-token\n")
    (keys / "service-monitor").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    return {**kept, "STRONGROOM_HOME": str(tmp_path), **more}


async def start(environ):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.monitor", env=environ, stderr=asyncio.subprocess.PIPE
    )


async def test_it_starts_says_that_it_is_ready_and_stops_when_told(tmp_path):
    base = free_port_base()
    process = await start(environment(tmp_path, STRONGROOM_PORT_BASE=str(base)))
    try:
        said = [json.loads(await asyncio.wait_for(process.stderr.readline(), 30))["event"] for _ in range(2)]
        assert said[0].startswith(("monitor: compiled", "monitor: interpreted"))
        assert f"127.0.0.1:{base + 4}" in said[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{base + 14}") as http:
            assert (await http.get("/readyz")).status_code == 200
            assert "No trace has arrived yet" in (await http.get("/")).text
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("STRONGROOM_MONITOR_MAX_TRACES", "1", "STRONGROOM_MONITOR_MAX_TRACES: 1 is not between 10 and 100000"),
        ("STRONGROOM_MONITOR_MAX_TRACE_MIB", "0", "STRONGROOM_MONITOR_MAX_TRACE_MIB: 0 is not between 1 and 4096"),
        ("STRONGROOM_KEYS", "/nowhere", "/nowhere/credentials.json is missing"),
    ],
)
async def test_with_a_wrong_setting_it_does_not_start_and_says_which(setting, value, reason, tmp_path):
    process = await start(environment(tmp_path, **{setting: value}))
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 78
    assert reason in said.decode()
