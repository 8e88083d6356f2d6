"""The whole suite, asked through the `openai` package and through curl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from strongroom.verify import verify_receipt

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
QUESTION = "What is the capital of France?"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_completion_tokens": 24, "seed": 7}


@pytest.fixture(scope="module")
def key(suite: Any) -> str:
    return str((suite.home / "keys" / "development-api-key").read_text().strip())


@pytest.fixture(scope="module")
def url(suite: Any) -> str:
    return f"http://127.0.0.1:{suite.port_base + 10}/v1"


@pytest.fixture(scope="module")
def client(url: str, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=key, timeout=120, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: openai.OpenAI) -> str:
    return next(iter(client.models.list())).id


def state_of(suite: Any, request_id: str) -> str:
    """Once the record has ended."""
    for _ in range(150):
        states = {record["record_id"]: record["state"] for record in suite.json("audit", "list")}
        if states.get(request_id) not in (None, "OPEN"):
            return str(states[request_id])
        time.sleep(0.2)
    raise AssertionError(f"the record of {request_id} did not end")


def test_a_whole_answer_and_its_receipt(suite: Any, client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, **ASK)
    [choice] = answer.choices
    assert choice.message.content and choice.finish_reason in ("stop", "length")
    assert answer.usage and 0 < answer.usage.completion_tokens <= 24
    ours: Any = answer.model_extra["strongroom"] if answer.model_extra else None
    request = {"messages": ASK["messages"], "model": model, "parameters": {"max_tokens": 24, "seed": 7}}
    released = {"content": choice.message.content, "finish_reason": ours["finish_reason"]}
    log_key = suite.run("audit", "key").stdout.strip()
    assert verify_receipt(request, released, ours["receipt"], log_key)
    assert not verify_receipt({**request, "parameters": {}}, released, ours["receipt"], log_key)
    assert state_of(suite, ours["request_id"]) == "COMPLETED"


def test_a_stream_says_what_the_whole_answer_said(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, **ASK, temperature=0).choices[0].message.content
    options: Any = {"include_usage": True}
    *chunks, last = client.chat.completions.create(
        model=model, **ASK, temperature=0, stream=True, stream_options=options
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert last.usage and last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


def test_the_trace_of_an_answer_begins_at_the_edge(suite: Any, client: openai.OpenAI, model: str) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    answer: Any = client.chat.completions.create(model=model, **ASK, extra_headers=headers)
    assert answer.strongroom["trace_id"] == trace_id
    trace = suite.json("trace", answer.strongroom["request_id"])
    assert "POST /v1/chat/completions" in {span["name"] for span in trace["spans"]}
    assert {span["service"] for span in trace["spans"]} >= {"gateway", "guard", "audit", "inference"}


def test_personal_data_is_found_and_reported(client: openai.OpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "我的手机号是13812345678,请记住。"}]
    answer: Any = client.chat.completions.create(model=model, messages=messages, max_tokens=8)
    assert [finding for finding in answer.strongroom["guard"]["findings"] if finding["side"] == "prompt"]


def test_a_stream_that_is_left_ends_cancelled(suite: Any, client: openai.OpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Write a very long story about a bank."}]
    with client.chat.completions.create(
        model=model, messages=messages, max_tokens=400, temperature=0, stream=True
    ) as stream:
        first: Any = next(iter(stream))
    assert state_of(suite, first.strongroom["request_id"]) == "CANCELLED"


def test_an_idempotency_key_of_another_request_is_a_conflict(client: openai.OpenAI, model: str) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first: Any = client.chat.completions.create(model=model, **ASK, extra_headers=headers)
    with pytest.raises(openai.ConflictError) as caught:
        client.chat.completions.create(model=model, **{**ASK, "seed": 8}, extra_headers=headers)
    said: Any = caught.value.body
    assert said["strongroom"]["request_id"] == first.strongroom["request_id"]


def test_the_same_request_under_its_key_is_answered_once(client: openai.OpenAI, model: str) -> None:
    headers = {"Idempotency-Key": "order-18"}
    first: Any = client.chat.completions.create(model=model, **ASK, extra_headers=headers)
    again: Any = client.chat.completions.create(model=model, **ASK, extra_headers=headers)
    assert (again.id, again.choices, again.usage) == (first.id, first.choices, first.usage)
    assert again.strongroom["read_back"] and not first.strongroom["read_back"]
    streamed = list(client.chat.completions.create(model=model, **ASK, stream=True, extra_headers=headers))
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) == first.choices[0].message.content


def test_invariant_11_several_answers_are_those_of_the_next_seeds_whole_streamed_and_told_again(
    suite: Any, client: openai.OpenAI, model: str
) -> None:
    """Fails if a choice's seed is not the request's and its own index, or choices share anything while they run."""
    asked, headers = {**ASK, "temperature": 1.0, "model": model}, {"Idempotency-Key": "order-19"}
    whole: Any = client.chat.completions.create(**asked, n=3, extra_headers=headers)
    said = [choice.message.content for choice in whole.choices]
    for index, text in enumerate(said):
        alone = client.chat.completions.create(**{**asked, "seed": asked["seed"] + index})
        assert alone.choices[0].message.content == text
    assert len(set(said)) == 3 and whole.usage.completion_tokens > 24
    streamed = {0: "", 1: "", 2: ""}
    for chunk in client.chat.completions.create(**asked, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == said
    again: Any = client.chat.completions.create(**asked, n=3, extra_headers=headers)
    assert (again.id, again.choices, again.usage) == (whole.id, whole.choices, whole.usage)
    parameters = {"max_tokens": 24, "seed": 7, "temperature": 1, "n": 3}
    request = {"messages": ASK["messages"], "model": model, "parameters": parameters}
    reasons = whole.strongroom["finish_reasons"]
    released = [{"content": text, "finish_reason": reason} for text, reason in zip(said, reasons, strict=True)]
    log_key = suite.run("audit", "key").stdout.strip()
    assert verify_receipt(request, released, whole.strongroom["receipt"], log_key)
    assert not verify_receipt(request, released[::-1], whole.strongroom["receipt"], log_key)


def test_bad_input_is_a_rejected_record(suite: Any, client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, **ASK, temperature=9)
    assert caught.value.param == "temperature"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_streams(url: str, key: str) -> None:
    body = json.dumps({**ASK, "stream": True})
    command = ["curl", "-sN", f"{url}/chat/completions", "-H", f"Authorization: Bearer {key}", "-d", body]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert said.startswith("data: {") and said.endswith("data: [DONE]\n\n")


def test_the_documents_own_lines_work(
    suite: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/http.md's Python, in a folder where `.strongroom` is this suite's home."""
    [snippet] = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / ".strongroom").symlink_to(suite.home)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet.replace("http://127.0.0.1:7410/v1", url), str(DOCUMENT), "exec"), {})
    assert "'verdict': 'ALLOW'" in capsys.readouterr().out


def test_the_transcripts_scenes_end_well(suite: Any) -> None:
    script = DOCUMENT.parent / "transcripts" / "openai_client.py"
    ended = subprocess.run([sys.executable, script], env=suite.environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    for word in (
        "receipt: True",
        "with one character more: False",
        "此内容违反使用政策",
        "True True True",
        "CANCELLED",
    ):
        assert word in ended.stdout


def test_after_a_clean_stop_the_log_verifies_and_nothing_is_pending(suite: Any) -> None:
    """The last of all that ask this suite: what every file before left in its log is in it."""
    assert suite.verify().returncode == 0
    key = suite.run("audit", "key").stdout.strip()
    assert suite.down().returncode == 0
    assert suite.run("status").returncode == 3
    ended = suite.run(str(suite.home), "--key", key, command="strongroom-verify")
    assert ended.returncode == 0, ended.stdout
    assert "pending      nothing" in ended.stdout
