"""Recorded answers made once more through the whole stack: the same, others, and what keeps them from being made."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strongroom.verify import VERIFIES

from stack.ports import free_port_base
from tests.e2e.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

QUESTION = "Name three colours, and the sea."
GREEDY, SEEDED = ("--temperature", "0"), ("--temperature", "0.9", "--seed", "11")


def asked(suite: Any, *options: str) -> dict[str, Any]:
    answer: dict[str, Any] = suite.json("ask", QUESTION, "--max-tokens", "12", *options)
    return answer


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Callable[[str], Any], tiny_tokenizer: Any) -> Path:
    """A model in a folder, as transformers saves it."""
    made = tmp_path / "tiny"
    tiny_model("llama").save_pretrained(made)
    tiny_tokenizer.save_pretrained(made)
    return made


def replayed(suite: Any, record: str) -> tuple[int, dict[str, Any]]:
    ended = suite.run("audit", "replay", record, "--reason", "case 7", "--json")
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def serve_anew(suite: Any) -> None:
    """The gateway hears of the new worker a moment after that is ready."""
    assert suite.run("restart", "inference").returncode == 0, suite.logs()
    wait_until(lambda: suite.run("ask", QUESTION, "--max-tokens", "1").returncode == 0)


def replays_told(suite: Any, record: str) -> int:
    acts = suite.json("audit", "show", record)["acts"]
    return sum(act["action"] == "REPLAYED" for act in acts)


@pytest.mark.parametrize("options", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_the_same_model_chooses_the_same_tokens_again(suite: Any, options: tuple[str, ...]) -> None:
    """Fails if the replay draws a seed of its own, or is screened once more."""
    answer = asked(suite, *options)
    code, found = replayed(suite, answer["request_id"])
    assert (code, found["verdict"], found["tokens"]) == (0, "EXACT", answer["usage"]["output_tokens"]), found
    shown = suite.json("audit", "show", found["replay_record_id"])
    told = {field["name"]: field["masked"] for field in shown["fields"]}
    assert json.loads(told["parameters"])["replay_of"] == answer["request_id"]
    assert json.loads(told["answer_released"])[0]["content"] == "" and "request_received" not in told
    assert shown["summary"]["state"] == "COMPLETED"
    assert suite.verify().returncode == VERIFIES


def test_neither_what_is_told_nor_the_log_in_clear_has_a_word_of_the_answer(suite: Any) -> None:
    answer = asked(suite, *GREEDY)
    ended = suite.run("audit", "replay", answer["request_id"], "--reason", "case 7")
    assert ended.returncode == 0 and ended.stdout.startswith("EXACT: 12 tokens"), ended.stderr
    revealed = suite.json("audit", "reveal", answer["request_id"], "--reason", "case 7")
    assert json.loads(revealed["fields"]["answer_generated"])[0]["content"] == answer["text"]
    assert QUESTION in revealed["fields"]["request_received"]
    for path in (suite.home / "log").glob("*.log"):
        assert QUESTION not in path.read_text(errors="replace"), path


def test_an_erased_record_is_not_replayable(suite: Any) -> None:
    answer = asked(suite, *GREEDY, "--subject", "customer-replayed")
    erase = ("--tenant", "development", "--subject", "customer-replayed", "--reason", "asked for", "--basis", "GDPR 17")
    assert suite.run("audit", "erase", *erase).returncode == 0
    code, found = replayed(suite, answer["request_id"])
    assert (code, found["verdict"], found["reasons"]) == (4, "NOT_REPLAYABLE", ["ERASED"])
    assert suite.verify().returncode == VERIFIES


def test_a_model_that_answers_otherwise_by_the_same_weights_is_found_out(
    suite_at: Any, tmp_path: Path, folder: Path, tiny_model: Callable[[str], Any]
) -> None:
    """Fails if other tokens of a worker that is the same by all that is recorded are called anything but DIVERGED, or
    if weights that are others by their digest are compared at all."""
    suite = suite_at(tmp_path / "home", free_port_base())
    up = suite.run("up", "--detach", environment={**suite.environment, "STRONGROOM_MODEL": str(folder)})
    assert up.returncode == 0, f"{up.stdout}{up.stderr}\n{suite.logs()}"
    answer = asked(suite, *GREEDY)
    code, found = replayed(suite, answer["request_id"])
    assert (code, found["verdict"], found["tokens"]) == (0, "EXACT", 12), found

    # Beside the weights, whose digest stays: how far apart the model takes two positions to be.
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] *= 100
    (folder / "config.json").write_text(json.dumps(config))
    serve_anew(suite)
    code, found = replayed(suite, answer["request_id"])
    assert (code, found["verdict"], found["reasons"], found["choice"]) == (3, "DIVERGED", [], 0), found
    assert found["token"] == found["tokens"] < 12
    wait_until(lambda: replays_told(suite, answer["request_id"]) == 2)

    other = copy.deepcopy(tiny_model("llama"))
    other.lm_head.weight.mul_(-1)
    other.save_pretrained(folder)
    serve_anew(suite)
    code, found = replayed(suite, answer["request_id"])
    assert (code, found["verdict"], found["reasons"]) == (4, "NOT_REPLAYABLE", ["OTHER_WEIGHTS"])
    assert suite.verify().returncode == VERIFIES
