"""What vLLM is opened with, and what it is told before that: all that can be seen without vLLM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.engine.vllm_engine import Counters
from services.inference.engine.vllm_opening import (
    LOGGING,
    bound_cores,
    count,
    open_vllm_engine,
    settle_environment,
)
from services.inference.engine.vllm_room import KvRoom, architecture
from services.inference.models.wheel import ModelUnavailable

ROOT = Path(__file__).parents[4]
GIB = 1 << 30


def test_without_vllm_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="make vllm-engine"):
        open_engine(EngineSettings(engine="vllm"), tmp_path)


def test_a_quantization_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^quantization must be none"):
        open_vllm_engine(EngineSettings(engine="vllm", quantization="int8"), tmp_path, print)


def test_vllm_phones_nobody_and_its_sockets_stay_on_this_machine(tmp_path: Path) -> None:
    environ = {"VLLM_NO_USAGE_STATS": "0"}
    settle_environment(EngineSettings(engine="vllm"), tmp_path, environ)
    assert environ == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_CONFIG_PATH": str(LOGGING),
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_CACHE_ROOT": str(tmp_path / "vllm"),
    }


def test_with_ray_addresses_are_rays_affair(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    settle_environment(EngineSettings(engine="vllm", parallel_backend="ray"), tmp_path, environ)
    assert not environ.keys() & {"VLLM_HOST_IP", "GLOO_SOCKET_IFNAME"}


def test_what_an_operator_set_stays(tmp_path: Path) -> None:
    environ = {"VLLM_CACHE_ROOT": "/elsewhere", "VLLM_CPU_OMP_THREADS_BIND": "0-7"}
    settle_environment(EngineSettings(engine="vllm", threads=1), tmp_path, environ)
    assert (environ["VLLM_CACHE_ROOT"], environ["VLLM_CPU_OMP_THREADS_BIND"]) == ("/elsewhere", "0-7")


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({}, ""),
        ({"threads": 3}, "0,1,2"),
        ({"tensor_parallel": 2}, "0,1|2,3"),
        ({"tensor_parallel": 2, "pipeline_parallel": 2, "threads": 4}, "0|1|2|3"),
        ({"tensor_parallel": 8}, ""),
    ],
)
def test_ranks_on_a_cpu_compute_on_cores_of_their_own(settings: dict[str, int], bound: str) -> None:
    assert bound_cores(EngineSettings(engine="vllm", **settings), range(4)) == bound


def test_spans_go_where_ours_go_and_the_token_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    settings = EngineSettings(engine="vllm", traces_address="127.0.0.1:7404", traces_token="secret")
    settle_environment(settings, tmp_path, environ)
    assert environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] == "authorization=Bearer%20secret"
    assert environ["OTEL_TRACES_SAMPLER"] == "parentbased_always_off"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tensor_parallel", 0),
        ("pipeline_parallel", -1),
        ("parallel_backend", "threads"),
        ("gpu_memory_utilization", 1.5),
    ],
)
def test_a_wrong_setting_is_named_with_its_bound(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        EngineSettings(engine="vllm", **{field: value})


def test_the_kv_cache_is_what_the_slots_can_fill_and_at_most_the_memorys_share() -> None:
    room = KvRoom(free=8 * GIB, share=0.5, token_bytes=1 << 10, tokens=1 << 20)
    assert room.size == GIB * 5 // 4  # with a quarter more, for kept prefixes
    assert KvRoom(free=GIB, share=0.5, token_bytes=1 << 10, tokens=1 << 20).size == GIB // 2
    assert KvRoom(free=GIB, share=0.5, token_bytes=0, tokens=1 << 20).size == GIB // 2


def test_a_family_that_plans_do_not_know_is_no_reason_not_to_open_it() -> None:
    assert architecture({"model_type": "gemma3"}) is None


def test_steps_are_counted_as_vllm_tells_them() -> None:
    counters = Counters()
    scheduler = SimpleNamespace(prefix_cache_stats=SimpleNamespace(queries=100, hits=64))
    iteration = SimpleNamespace(
        num_generation_tokens=4, num_preempted_reqs=1, prompt_token_stats=SimpleNamespace(computed=36)
    )
    count(counters, scheduler, iteration)
    count(counters, None, None)
    assert counters == Counters(
        steps=2, prompt_tokens=36, output_tokens=4, computed_tokens=40, preempted=1, prefix_asked=100, prefix_found=64
    )  # fmt: skip


def test_vllms_log_lines_leave_exceptions_texts_out() -> None:
    """Fails if vLLM formats its own lines: `logger.exception` would quote what a request held."""
    said = subprocess.run(
        [sys.executable, "-c", _LOGS, str(LOGGING)], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    ).stderr.splitlines()
    [line] = [json.loads(one) for one in said]
    assert (line["event"], line["exception"]) == ("it failed", "ValueError")


_LOGS = """
import json, logging, logging.config, sys
logging.config.dictConfig(json.load(open(sys.argv[1])))
try:
    raise ValueError("a prompt")
except ValueError:
    logging.getLogger("vllm.v1.engine.core").exception("it failed")
logging.getLogger("vllm.v1.structured_output.backend_guidance").warning("LLMatcher error: %s", "a grammar")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize(("name", "ends"), [("EngineCore", True), ("another", False)])
def test_vllms_engine_ends_with_the_process_that_started_it(name: str, ends: bool) -> None:
    """Fails if `tie` leaves the death signal out: vLLM's own engine stays for ever."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, name], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        assert _gone(child, 60.0 if ends else 0.5) is ends
    finally:
        if not ends:
            os.kill(child, signal.SIGKILL)


def _gone(pid: int, patience_seconds: float) -> bool:
    over = time.monotonic() + patience_seconds
    while time.monotonic() < over:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


_PARENT = """
import multiprocessing, sys, time
from services.inference.engine.vllm_child import tie

def live(ready):
    tie()
    ready.send(multiprocessing.current_process().pid)
    time.sleep(300)

here, there = multiprocessing.Pipe()
context = multiprocessing.get_context("fork")
child = context.Process(target=live, args=(there,), name=sys.argv[1])
child.start()
print(here.recv(), flush=True)
child.join()
"""


def test_the_worker_itself_is_tied_to_nobody() -> None:
    from services.inference.engine.vllm_child import tie

    tie()  # in this process, which nobody started by multiprocessing: a test that survives


def pins(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_environment_is_the_measured_vllm_and_what_our_worker_stands_on() -> None:
    engine = pins(ROOT / "deploy" / "environments" / "vllm.txt")
    assert pins(ROOT / "benchmarks" / "engine" / "peers" / "vllm-cpu.txt").items() <= engine.items()
    lock = pins(ROOT / "requirements.lock")
    ours = {name: version for name, version in engine.items() if name in ("redis", "hiredis", "orjson", "rfc8785")}
    assert len(ours) == 4 and ours.items() <= lock.items()
