"""A service as a process: it starts, or it says in one clear line why not."""

import json
import os
import subprocess
import sys

import pytest

CARD = "6222021234567890123"

PROGRAM = """
import asyncio
from dataclasses import dataclass
from chassis.settings import StackSettings
from chassis.start import CannotStart, run

@dataclass(frozen=True, kw_only=True)
class VaultSettings(StackSettings):
    shelves: int = 1

async def main(settings):
    {body}

run("vault", VaultSettings, main)
"""


def run(body, **environ):
    environ = {**{k: v for k, v in os.environ.items() if not k.startswith("STRONGROOM_")}, **environ}
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_a_service_that_ends_by_itself_exits_with_0():
    done = run("print(settings.shelves, type(asyncio.get_running_loop()).__module__)", STRONGROOM_VAULT_SHELVES="3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 uvloop\n", "")


@pytest.mark.parametrize(
    ("body", "environ", "reason"),
    [
        ("pass", {"STRONGROOM_VAULT_SHELVES": "x"}, "STRONGROOM_VAULT_SHELVES: 'x' is not a whole number"),
        ("raise CannotStart('policy.yaml: no rules; restore it')", {}, "policy.yaml: no rules; restore it"),
    ],
)
def test_a_service_that_cannot_start_says_why_and_exits_with_78(body, environ, reason):
    done = run(body, **environ)
    assert (done.returncode, done.stderr) == (78, f"vault cannot start:\n{reason}\n")


def test_a_crash_shows_the_exceptions_type_and_place_and_not_its_text():
    done = run(f"raise KeyError('{CARD}')")
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert (line["event"], line["exception"]) == ("vault stopped", "KeyError")
    assert CARD not in done.stderr


def test_a_failed_background_task_shows_no_text_either():
    body = f"task = asyncio.create_task(asyncio.sleep(0)); task.add_done_callback(lambda _: {{}}['{CARD}']); await task"
    done = run(body)
    assert done.returncode == 0
    assert json.loads(done.stderr)["exception"] == "KeyError"
    assert CARD not in done.stderr


def test_plaintext_that_others_could_read_is_told_of_in_the_log():
    """Fails if `run` starts without a word: DESIGN wants it logged and shown."""
    done = run("pass", STRONGROOM_BIND="0.0.0.0", STRONGROOM_INSECURE="1")
    line = json.loads(done.stderr)
    assert (done.returncode, line["level"]) == (0, "warning")
    assert "STRONGROOM_INSECURE: all that comes and goes on 0.0.0.0 is in plaintext" in line["event"]


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "172.20.0.5"])
def test_plaintext_beyond_loopback_is_refused_unless_it_is_asked_for(bind):
    done = run("pass", STRONGROOM_BIND=bind)
    assert done.returncode == 78 and "STRONGROOM_INSECURE=true if the network is private" in done.stderr


def test_a_clock_from_before_this_version_was_made_is_refused():
    """Fails if `run` asks no clock: a dead battery would date everything wrongly."""
    body = "pass\n\nimport chassis.start\nchassis.start.time = type('Clock', (), {{'time': staticmethod(lambda: 0.0)}})"
    done = run(body.replace("{{", "{").replace("}}", "}"))
    assert done.returncode == 78
    assert "the clock says 1970-01-01T00:00:00+00:00, before this version was made" in done.stderr
