"""`make test-compose`: the box as it is delivered, from nothing to nothing. Exits with 1 at what does not hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asking import QUESTION, Caller
from bad_input import check_all
from project import ROOT, SERVICES, Failed, Project, require, run, until
from reach import check, measured, table
from strongroom.client import CallFailed

from stack.ports import free_port_base

OWNER = "10001:10001"
SCALED = {"inference": 3, "guard": 2}
BEGAN = time.monotonic()
RUNNING = re.compile(r"^strongroom_inference_running_requests (\S+)", re.MULTILINE)
SCRAPE = """
import sys, urllib.request
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode())
"""


def say(line: str) -> None:
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {line}", flush=True)


class Scenario:
    """The steps, in their order; each goes on where the one before ended."""

    def __init__(self, project: Project, caller: Caller, secrets: Path, scratch: Path) -> None:
        self.project, self.caller, self.secrets, self.scratch = project, caller, secrets, scratch
        self.expected = ""  # the answer to QUESTION, undisturbed

    def start(self) -> None:
        began = time.monotonic()
        self.project.compose("up", "-d")
        created = time.monotonic() - began
        answer = self.caller.first(180)
        took = time.monotonic() - began
        say(f"docker-compose up: returned after {created:.1f} s, first answer after {took:.1f} s: {answer.text!r}")
        self.caller.log_key = self.cli("audit", "key").strip()
        until("every container is healthy", self.project.healthy)

    def ask(self) -> None:
        self.expected = self.caller.stream().text
        say(f"gRPC: {len(self.expected)} characters streamed; their receipt, and all that follow, verify offline")
        text = self.caller.over_http()
        require(text, "HTTP: an empty answer")
        say(f"HTTP: {text!r}")

    def confinement(self) -> None:
        for service in SERVICES:
            [container, *_] = self.project.containers(service)
            status = dict(
                line.split(":\t", 1)
                for line in self.project.python(container, 'print(open("/proc/1/status").read())').splitlines()
                if ":\t" in line
            )
            found = (
                status["Uid"].split()[0],
                int(status["CapEff"], 16),
                int(status["CapBnd"], 16),
                status["NoNewPrivs"],
            )
            require(found == ("10001", 0, 0, "1"), f"{service}: uid, capabilities, NoNewPrivs are {found}")
            writing = run("docker", "exec", container, "touch", "/app/file")
            require("Read-only file system" in writing.stderr, f"{service}: its root can be written: {writing.stderr}")
            held = run("docker", "exec", container, "sh", "-c", "ls /run/secrets 2>/dev/null || true").stdout.split()
            say(f"{service}: uid 10001, no capabilities, root read-only, holds {', '.join(held) or 'no secret'}")
        for service in SERVICES[1:]:
            log = run("docker", "logs", self.project.containers(service)[0]).stderr
            require("is in plaintext" in log, f"{service} does not tell of plaintext in its log")
        require("INSECURE" in self.page(), "the page does not say INSECURE")
        say("plaintext in the zone is told of in every log and on the page")

    def reach(self) -> None:
        found = measured(self.project)
        for line in table(found):
            say(f"  {line}")
        check(found)

    def scale(self) -> None:
        self.project.compose("up", "-d", *(f"--scale={name}={count}" for name, count in SCALED.items()))
        took = until("three workers serve", lambda: self.caller.workers() == SCALED["inference"])
        self.until_all_serve()
        for _ in range(12):
            self.caller.ask()
        asked = [self.items(container) for container in self.project.containers("guard")]
        require(all(asked), f"of two guards one is not asked: {asked}")
        replicas = [self.project.address(c) for name in SCALED for c in self.project.containers(name)]
        until("the page shows every replica", lambda: all(address in self.page() for address in replicas), 30)
        say(
            f"--scale inference=3 guard=2: all serve after {took:.1f} s; items of each guard: {asked}; the page has all"
        )

    def items(self, container: str) -> int:
        metrics = self.project.python(container, SCRAPE, "7411")
        return int(sum(map(float, re.findall(r"^strongroom_guard_items_total\S* (\S+)", metrics, re.MULTILINE))))

    def kill_the_worker_that_answers(self) -> None:
        killed: list[str] = []

        def kill() -> None:
            [busy] = [c for c in self.project.containers("inference") if self.running(c)]
            killed.append(self.project.name_of(busy))
            self.project.kill(busy)

        answer = self.caller.stream(meanwhile=kill)
        require(killed and answer.text == self.expected, f"{killed} killed: the answer changed:\n{answer.text}")
        say(f"{killed[0]} killed while it answered: the stream ends unharmed, character for character")
        self.until_all_serve()

    def running(self, container: str) -> bool:
        found = RUNNING.search(self.project.python(container, SCRAPE, "7412"))
        return bool(found and float(found[1]))

    def kill_the_others(self) -> None:
        for service in ("guard", "audit", "redis", "monitor", "gateway"):
            for container in self.project.containers(service):
                self.kill_one(service, container)

    def kill_one(self, service: str, container: str) -> None:
        name = self.project.name_of(container)
        try:
            answer = self.caller.stream(meanwhile=lambda: self.project.kill(container))
            require(answer.text == self.expected, f"{name} killed: the answer changed:\n{answer.text}")
            seen = "the stream ends unharmed"
        except CallFailed as failed:
            require(service == "gateway", f"{name} killed: {failed.code} {failed.reason}: {failed}")
            seen = f"the call ends with {failed.code}"
        self.until_all_serve()
        require(self.project.inspect(container)["RestartCount"], f"{name} was not started again by Docker")
        self.caller.ask()
        say(f"{name} killed in the middle of an answer: {seen}; started again by Docker, all healthy, asked again")

    def until_all_serve(self) -> None:
        until("every container is healthy", lambda: self.project.healthy(SCALED))
        until("work is taken by every worker", lambda: self.caller.workers() == SCALED["inference"])

    def restart_all(self) -> None:
        self.project.compose("restart")
        until("every container is healthy", lambda: self.project.healthy(SCALED))
        self.caller.first(60)
        self.project.compose("down")
        self.project.compose("up", "-d")
        self.caller.first(180)
        say("restarted all, then made all containers anew over the same volumes: it answers")

    def records(self) -> None:
        """Every answer has its record, and whatever was begun has ended."""
        ids = [*self.caller.answered, *self.caller.begun]
        until("no record is open", lambda: "OPEN" not in {each["state"] for each in self.listed()}, 60)
        states = {each["record_id"]: each["state"] for each in self.listed()}
        missing = [id for id in self.caller.answered if states.get(id) != "COMPLETED"]
        require(not missing, f"answers without a COMPLETED record: {missing}")
        require(not [id for id in ids if id not in states], "a request that was begun has no record")
        unanswered = [states[id] for id in self.caller.begun if id not in self.caller.answered]
        answers = len(set(self.caller.answered))
        say(f"{answers} answers, each with its COMPLETED record; begun and not answered: {unanswered or 'none'}")

    def listed(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.cli("audit", "list", "--limit", "500", "--json"))
        return found

    def verify(self, when: str) -> None:
        done = self.project.attempt("run", "--rm", "-T", "verify", "--key", self.caller.log_key)
        require(done.returncode == 0, f"strongroom-verify, {when}: {done.returncode}\n{done.stdout}{done.stderr}")
        for line in done.stdout.splitlines():
            say(f"  {line}")
        say(f"strongroom-verify on the journal's volume, {when}: exit 0")

    def bad_input(self) -> None:
        before = self.journal()
        for line in check_all(self.project, self.secrets, self.scratch):
            say(f"  {line}")
        require(self.journal() == before, "the journal changed")
        say("what bad input gets: each said above; the journal's bytes are what they were")

    def journal(self) -> str:
        return self.project.compose(
            *(
                "run",
                "--rm",
                "-T",
                "--entrypoint",
                "sh",
                "verify",
                "-c",
                "cd /data && find . -type f -exec sha256sum {} + | sort",
            )
        )

    def page(self) -> str:
        return run("curl", "--silent", f"http://127.0.0.1:{self.project.environ['STRONGROOM_PAGE_PORT']}/").stdout

    def cli(self, *arguments: str) -> str:
        return self.project.compose(
            "run", "--rm", "-T", "-e", "STRONGROOM_API_KEY", "cli", *arguments, STRONGROOM_API_KEY=self.caller.key
        )


def steps(scenario: Scenario) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "up", scenario.start
    yield "ask", scenario.ask
    yield "confinement", scenario.confinement
    yield "what each container may reach", scenario.reach
    yield "scale", scenario.scale
    yield "kill the worker that answers", scenario.kill_the_worker_that_answers
    yield "kill each other container in turn", scenario.kill_the_others
    yield "restart", scenario.restart_all
    yield "records", scenario.records
    yield "verify, running", lambda: scenario.verify("running")
    yield "down", lambda: scenario.project.compose("down") and None
    yield "verify, stopped", lambda: scenario.verify("stopped")
    yield "bad input", scenario.bad_input


@contextmanager
def prepared() -> Iterator[Scenario]:
    """Secrets, ports and a project of its own; whatever happens, nothing of it is left."""
    scratch = Path(tempfile.mkdtemp(prefix="strongroom-compose-"))
    base, secrets = free_port_base(), scratch / "secrets"
    made = run(str(Path(sys.executable).parent / "strongroom"), "keys", str(secrets), "--owner", OWNER)
    require(made.returncode == 0, made.stderr)
    environ = {
        "STRONGROOM_IMAGE": os.environ.get("STRONGROOM_IMAGE", "strongroom:latest"),
        "STRONGROOM_SECRETS": str(secrets),
        "STRONGROOM_MODELS": os.environ.get("STRONGROOM_MODELS", str(ROOT / "deploy" / "models")),
        **dict(
            zip(
                ("STRONGROOM_PORT", "STRONGROOM_HTTP_PORT", "STRONGROOM_PAGE_PORT"),
                map(str, (base, base + 10, base + 14)),
            )
        ),
    }
    project = Project(f"strongroom-test-{os.getpid()}", environ)
    key = (secrets / "development-api-key").read_text().strip()
    try:
        yield Scenario(project, Caller(f"127.0.0.1:{base}", f"127.0.0.1:{base + 10}", key), secrets, scratch)
    finally:
        project.attempt("down", "--volumes", "--remove-orphans", "--timeout", "20")
        shutil.rmtree(scratch)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that it clears away behind it then too
    try:
        with prepared() as scenario:
            for name, step in steps(scenario):
                say(f"== {name}")
                try:
                    step()
                except Exception:
                    print(scenario.project.attempt("logs", "--no-color", "--tail", "40").stdout, flush=True)
                    raise
            project = scenario.project
        require(not project.left(), f"left behind: {project.left()}")
    except (Failed, CallFailed, ValueError) as failed:
        say(f"FAILED: {failed}")
        return 1
    say(f"torn down: no container, network or volume is left. {QUESTION.max_tokens} tokens a story, all in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
