"""`make test-compose`: the box as it is delivered, from nothing to nothing. Exits with 1 at what does not hold."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asking import Caller
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
        began = time.monotonic()
        self.project.compose("up", "-d", *(f"--scale={name}={count}" for name, count in SCALED.items()))
        self.until_all_serve()
        took = time.monotonic() - began
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
        self.kill_one("inference", self.worker_at_work)

    def kill_the_others(self) -> None:
        self.kill_one("guard", self.guard_at_work)
        for service in ("audit", "redis", "monitor", "gateway"):
            self.kill_one(service, lambda service=service: self.project.containers(service)[0])
        for service in SCALED:
            for container in self.project.containers(service):
                if not self.project.inspect(container)["RestartCount"]:
                    self.kill_one(service, lambda container=container: container)

    def worker_at_work(self) -> str:
        """The one that makes the answer, which is the only one asked for."""
        found = {
            c: RUNNING.search(self.project.python(c, SCRAPE, "7412")) for c in self.project.containers("inference")
        }
        [working] = [container for container, value in found.items() if value and float(value[1])]
        return working

    def guard_at_work(self) -> str:
        """The one whose count of items grows."""
        before, grown = {c: self.items(c) for c in self.project.containers("guard")}, []
        until(
            "a guard filters the answer", lambda: grown.extend(c for c in before if self.items(c) > before[c]) or grown
        )
        require(len(set(grown)) == 1, "both guards filter one answer")
        return grown[0]

    def kill_one(self, service: str, chosen: Callable[[], str]) -> None:
        """While it answers, or its neighbour does: the stream ends as if nothing had been, but for a gateway's own."""
        killed: list[str] = []

        def kill() -> None:
            killed.append(chosen())
            self.project.kill(killed[0])

        try:
            answer = self.caller.stream(meanwhile=kill)
            require(answer.text == self.expected, f"{service} killed: the answer changed:\n{answer.text}")
            seen = "the stream ends unharmed, character for character"
        except CallFailed as failed:
            require(service == "gateway", f"{service} killed: {failed.code} {failed.reason}: {failed}")
            seen = f"the call ends with {failed.code}"
        self.until_all_serve()
        [container] = killed
        require(self.project.inspect(container)["RestartCount"], f"{service} was not started again by Docker")
        self.caller.ask()
        say(f"{self.project.name_of(container)} killed in the middle of an answer: {seen}; back, healthy, asked again")

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
    with tempfile.TemporaryDirectory(prefix="strongroom-compose-") as folder:
        scratch, base = Path(folder), free_port_base()
        secrets, ports = scratch / "secrets", {"PORT": base, "HTTP_PORT": base + 10, "PAGE_PORT": base + 14}
        made = run(str(Path(sys.executable).parent / "strongroom"), "keys", str(secrets), "--owner", OWNER)
        require(made.returncode == 0, made.stderr)
        environ = {
            "STRONGROOM_IMAGE": os.environ.get("STRONGROOM_IMAGE", "strongroom:latest"),
            "STRONGROOM_SECRETS": str(secrets),
            "STRONGROOM_MODELS": os.environ.get("STRONGROOM_MODELS", str(ROOT / "deploy" / "models")),
            **{f"STRONGROOM_{name}": str(port) for name, port in ports.items()},
        }
        project = Project(f"strongroom-test-{os.getpid()}", environ)
        key = (secrets / "development-api-key").read_text().strip()
        try:
            yield Scenario(project, Caller(f"127.0.0.1:{base}", f"127.0.0.1:{base + 10}", key), secrets, scratch)
        finally:
            project.attempt("down", "--volumes", "--remove-orphans", "--timeout", "20")


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
    say("torn down: no container, network or volume is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
