"""`strongroom ask` against a gateway of our own: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from strongroom.cli.main import main
from strongroom.client import Client, Model, Question
from strongroom.location import Location
from strongroom.verify import verify_receipt


def run_command(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "strongroom.cli.main", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=30)


def test_the_answer_goes_to_standard_output_and_what_is_known_of_it_to_standard_error(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "Is the vault closed?"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "The vault is closed.\n"
    for fact in ("r-1", "STOP", "ALLOW", "masked 1 BANK_CARD", "7 + 4 tokens", "DURABLE, verified offline", "ab" * 16):
        assert fact in printed.err


def test_the_json_object_has_the_members_that_scripts_depend_on(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Is the vault closed?", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == [
        "request_id", "model", "text", "reasoning", "finish_reason", "usage", "guard", "receipt", "trace_id", "timings",
    ]  # fmt: skip
    assert answer["usage"] == {"input_tokens": 7, "output_tokens": 4}
    assert set(answer["guard"]) == {"verdict", "rule", "findings"}
    assert answer["guard"]["verdict"] == "ALLOW" and answer["finish_reason"] == "STOP"
    released = {"content": answer["text"], "finish_reason": answer["finish_reason"]}
    assert verify_receipt("Is the vault closed?", released, answer["receipt"], stack.log.vkey)


def test_several_answers_are_printed_apart_and_verified_together(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.others = ("It is shut.",)
    assert main(["ask", "Is the vault closed?", "--n", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "[1 of 2]\nThe vault is closed.\n\n[2 of 2]\nIt is shut.\n"
    assert "STOP, LENGTH" in printed.err and "verified offline" in printed.err
    assert stack.asked[-1].prompt.sampling.n == 2
    assert main(["ask", "Is the vault closed?", "--n", "2", "--json"]) == 0
    choices = json.loads(capsys.readouterr().out)["choices"]
    assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [
        ("The vault is closed.", "STOP"), ("It is shut.", "LENGTH"),
    ]  # fmt: skip


def test_reasoning_is_no_part_of_the_text_and_is_in_the_receipt(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.reasoning = "Vaults close at six."
    assert main(["ask", "Is the vault closed?"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "The vault is closed.\n" and "verified offline" in printed.err
    assert main(["ask", "Is the vault closed?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasoning"] == stack.reasoning


def test_an_answer_that_ended_within_its_reasoning_says_what_to_do(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.reasoning, stack.text, stack.finish_reason = "Vaults close", (), "LENGTH"
    assert main(["ask", "Is the vault closed?"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == "" and "ended within its reasoning: allow more tokens" in printed.err


def test_a_receipt_that_does_not_hold_is_said_to_fail(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.tampered = True
    assert main(["ask", "Is the vault closed?"]) == 5
    printed = capsys.readouterr().err
    assert "DOES NOT VERIFY" in printed
    assert "verified offline" not in printed


def test_every_option_reaches_the_gateway_and_what_is_unset_stays_unset(stack: Any) -> None:
    options = (
        "--model m --max-tokens 5 --temperature 0 --top-p 0.5 --top-k 3 --seed 9 --stop . --stop ! --subject s "
        "--idempotency-key k --priority batch --system Short. --min-p 0.1 --repetition-penalty 1.1 "
        "--presence-penalty -0.5 --frequency-penalty 0.5 --min-tokens 2 --regex (yes|no)"
    )
    assert main(["ask", "Why?", *options.split()]) == 0
    prompt = stack.asked[-1].prompt
    assert [(message.role, message.content) for message in prompt.messages] == [("system", "Short."), ("user", "Why?")]
    sampling = prompt.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed, sampling.max_tokens) == (
        0,
        0.5,
        3,
        9,
        5,
    )
    assert (sampling.min_p, sampling.repetition_penalty, sampling.min_tokens, sampling.regex) == (
        0.1,
        1.1,
        2,
        "(yes|no)",
    )
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (-0.5, 0.5)
    assert sampling.HasField("temperature") and list(sampling.stop) == [".", "!"]
    assert (prompt.model, prompt.subject, prompt.idempotency_key, prompt.priority) == ("m", "s", "k", 3)
    assert main(["ask", "Why?"]) == 0
    assert not stack.asked[-1].prompt.sampling.ListFields()


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (3, "TEMPERATURE_OUT_OF_RANGE", 2),  # INVALID_ARGUMENT
        (5, "MODEL_UNKNOWN", 2),
        (8, "QUEUE_FULL", 2),
        (16, "UNKNOWN_CREDENTIAL", 2),
        (1, "CANCELLED", 5),
        (4, "DEADLINE_EXCEEDED", 5),
        (13, "INTERNAL", 5),
        (14, "AUDIT_UNAVAILABLE", 5),
    ],
)
def test_how_a_request_ends_decides_the_exit_code(
    stack: Any, capsys: pytest.CaptureFixture[str], code: int, reason: str, exit_code: int, failing: Any
) -> None:
    stack.failure = failing(code, reason, "what is wrong: what to do", "prompt.sampling.temperature", 50)
    assert main(["ask", "Why?"]) == exit_code
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("strongroom: what is wrong: what to do [")
    for fact in (reason, "field prompt.sampling.temperature", "try again in 0.05 s"):
        assert fact in line


def test_a_refusal_is_an_answer(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.finish_reason, stack.text = "REFUSED", ("此内容违反使用政策",)
    assert main(["ask", "…"]) == 0
    assert capsys.readouterr().out == "此内容违反使用政策\n"


def test_a_stream_that_breaks_keeps_what_came_and_says_why(
    stack: Any, capsys: pytest.CaptureFixture[str], failing: Any
) -> None:
    stack.failure, stack.breaks_after = failing(14, "GATEWAY_STOPPING", "the gateway stops"), 1
    assert main(["ask", "Why?"]) == 5
    printed = capsys.readouterr()
    assert printed.out == "The vault \n"
    assert printed.err == "strongroom: the gateway stops [UNAVAILABLE GATEWAY_STOPPING]\n"


def test_a_gateway_that_is_lost_while_it_answers_is_not_said_to_be_absent(
    stack: Any, capsys: pytest.CaptureFixture[str], failing: Any
) -> None:
    stack.failure, stack.breaks_after = failing(14, "UNAVAILABLE", "Socket closed"), 1
    assert main(["ask", "Why?"]) == 5
    assert "was lost while it answered" in capsys.readouterr().err and len(stack.asked) == 1


def test_a_gateway_that_is_not_there_is_named_with_the_remedy(
    stack: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("STRONGROOM_ADDRESS", address)
        assert main(["ask", "Why?"]) == 5
    assert f"no gateway answers at {address}" in capsys.readouterr().err


def test_a_wrong_key_is_said_to_be_wrong(
    stack: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_API_KEY", "sk-dev_other")
    assert main(["ask", "Why?"]) == 2
    assert "UNAUTHENTICATED UNKNOWN_CREDENTIAL" in capsys.readouterr().err


def test_without_a_key_nothing_is_asked(stack: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["ask", "Why?", "--home", str(tmp_path / "elsewhere")]) == 2
    assert "no API key" in capsys.readouterr().err
    assert not stack.asked


@pytest.mark.parametrize("option", [["--seed", "-1"], ["--top-k", "-1"], ["--max-tokens", "5000000000"]])
def test_a_number_that_its_field_cannot_hold_names_the_field(
    stack: Any, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["ask", "Why?", *option]) == 2
    name = option[0].removeprefix("--").replace("-", "_")
    assert f"field prompt.sampling.{name}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["ask"], ["ask", "x", "--temperature", "warm"], ["sak"], []])
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_question_comes_through_a_pipe_and_the_answer_leaves_through_one(stack: Any) -> None:
    ended = run_command("ask", "-", stdin="金库关了吗?".encode())
    assert (ended.returncode, ended.stdout) == (0, b"The vault is closed.\n")
    assert stack.asked[-1].prompt.messages[-1].content == "金库关了吗?"


def test_input_that_is_not_utf8_is_refused_by_its_byte(stack: Any) -> None:
    ended = run_command("ask", "-", stdin=b"ok \xff")
    assert ended.returncode == 2
    assert b"not UTF-8 (byte 3)" in ended.stderr and b"Traceback" not in ended.stderr


def test_a_reader_that_leaves_early_causes_no_traceback(stack: Any) -> None:
    stack.text = ("line\n" * 20_000,) * 4
    command = [sys.executable, "-m", "strongroom.cli.main", "ask", "Why?"]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asking.stdout and asking.stderr
    os.read(asking.stdout.fileno(), 10)
    asking.stdout.close()
    assert b"Traceback" not in asking.stderr.read()
    asking.stderr.close()
    assert asking.wait(10) == 0


def test_leaving_a_stream_cancels_it(stack: Any) -> None:
    stack.waits = True
    with Client(Location(stack.home, {})) as client:
        stream = client.stream(Question.of("Why?"))
        next(stream)
        assert not stack.left.is_set()
        stream.close()
        assert stack.left.wait(10)


def test_the_models_that_can_be_asked_are_listed(stack: Any) -> None:
    with Client(Location(stack.home, {})) as client:
        assert client.models() == [Model("tiny", context_tokens=64, workers=2, engine="echo")]


def test_keys_may_lie_elsewhere_than_in_the_home(stack: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (stack.home / "keys").rename(elsewhere)
    with Client(Location(stack.home, {"STRONGROOM_KEYS": str(elsewhere)})) as client:
        assert client.ask(Question.of("Why?")).text == "The vault is closed."
