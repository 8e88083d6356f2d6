"""One question, end to end, on a real model, through the commands that people use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from strongroom.verify import verify_receipt

from tests.e2e.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SERVICES = {"gateway", "guard", "inference", "audit", "monitor"}
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def answer(suite: Any) -> Any:
    return suite.json("ask", QUESTION, "--max-tokens", "24", "--seed", "7")


def test_every_service_is_ready_in_a_process_of_its_own(suite: Any) -> None:
    status = suite.json("status")
    assert status["up"] and status["ready"]
    assert {service["service"] for service in status["services"]} >= SERVICES
    assert all(service["ready"] and not service["restarts"] for service in status["services"])
    pids = [service["pid"] for service in status["services"]]
    assert len(set(pids)) == len(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_inference_loads_torch(suite: Any) -> None:
    maps = {name: Path(f"/proc/{suite.pid(name)}/maps").read_text() for name in SERVICES}
    assert {name for name, mapped in maps.items() if "libtorch" in mapped} == {"inference"}


def test_an_answer_is_streamed_and_its_receipt_verifies(suite: Any) -> None:
    ended = suite.run("ask", QUESTION, "--max-tokens", "24")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert "receipt DURABLE, verified offline" in ended.stderr and "DEVELOPMENT" in ended.stderr


def test_an_answer_carries_usage_verdict_receipt_and_trace(suite: Any, answer: Any) -> None:
    assert answer["text"] and answer["finish_reason"] in ("STOP", "LENGTH")
    assert answer["usage"]["input_tokens"] > 0 and 0 < answer["usage"]["output_tokens"] <= 24
    assert answer["guard"]["verdict"] == "ALLOW"
    assert answer["timings"]["total_ms"] >= answer["timings"]["first_release_ms"] > 0
    request = {"messages": [{"role": "user", "content": QUESTION}], "parameters": {"max_tokens": 24, "seed": 7}}
    released = {"content": answer["text"], "finish_reason": answer["finish_reason"]}
    key = suite.run("audit", "key").stdout.strip()
    assert verify_receipt(request, released, answer["receipt"], key)
    assert not verify_receipt(request, {**released, "content": answer["text"] + "!"}, answer["receipt"], key)


def test_one_trace_joins_every_process_and_the_queue(suite: Any, answer: Any) -> None:
    trace = suite.json("trace", answer["request_id"])
    assert trace["complete"] and trace["trace_id"] == answer["trace_id"]
    assert len(trace["spans"]) >= 8
    assert len({span["pid"] for span in trace["spans"]}) >= 4
    assert {span["service"] for span in trace["spans"]} >= {"gateway", "guard", "audit", "inference"}
    drawn = suite.run("trace", answer["trace_id"])
    assert drawn.returncode == 0 and drawn.stdout.count("█") >= 8


def test_the_record_is_listed_and_shown_masked(suite: Any, answer: Any) -> None:
    records = {record["record_id"]: record for record in suite.json("audit", "list")}
    assert records[answer["request_id"]]["state"] == "COMPLETED"
    shown = suite.json("audit", "show", answer["request_id"])
    fields = {field["name"]: field for field in shown["fields"]}
    assert fields["request_received"]["sealed"] and not fields["request_received"]["masked"]
    assert answer["text"] in json.loads(fields["answer_released"]["masked"])[0]["content"]


def test_personal_data_is_masked_before_the_model_sees_it(suite: Any) -> None:
    answer = suite.json("ask", "我的手机号是13812345678,请记住。", "--max-tokens", "16")
    assert [finding["type"] for finding in answer["guard"]["findings"] if finding["side"] == "prompt"]
    redacted = suite.run("guard", "redact", "我的手机号是13812345678,请记住。")
    assert redacted.returncode == 0 and "13812345678" not in redacted.stdout
    files = [path for folder in ("log", "redis") for path in (suite.home / folder).iterdir() if path.is_file()]
    for path in files:  # Redis's socket is none
        assert b"13812345678" not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--temperature", "9"], "temperature"),
        (["--model", "no-such-model"], "model"),
        (["--max-tokens", "0"], "max_tokens"),
    ],
)
def test_bad_input_is_refused_with_its_field_and_recorded(suite: Any, option: list[str], reason: str) -> None:
    ended = suite.run("ask", QUESTION, *option)
    assert ended.returncode == 2 and reason in ended.stderr and not ended.stdout
    assert "Traceback" not in ended.stderr
    # A rejection is durable a moment after its caller was told: nobody waits for it.
    wait_until(lambda: any(record["state"] == "REJECTED" for record in suite.json("audit", "list")))


def test_the_log_verifies_while_it_runs(suite: Any, answer: Any) -> None:
    ended = suite.verify()
    assert ended.returncode == 0, ended.stdout
    assert "VERIFIES" in ended.stdout


def test_a_second_up_says_that_it_is_up_already(suite: Any) -> None:
    again = suite.up()
    assert again.returncode == 3
    assert "is up already" in again.stdout
