"""One stack in containers: docker-compose under a name of its own, and what the host can see and do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPOSE = ("docker-compose",) if shutil.which("docker-compose") else ("docker", "compose")
COMMAND_SECONDS = 300
SERVICES = ("redis", "audit", "guard", "inference", "gateway", "monitor")


class Failed(Exception):
    """A step did not hold. Says what was expected and what was found."""


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def until(what: str, holds: Callable[[], object], seconds: float = 120) -> float:
    """Waits until it holds; returns how long that took."""
    began = time.monotonic()
    while not holds():
        require(time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
    return time.monotonic() - began


def run(*command: str, environ: Mapping[str, str] | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


class Project:
    """Named by the one who starts it, so that it meets no other stack of this machine."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.name, self.environ = name, {**os.environ, "COMPOSE_PROJECT_NAME": name, **environ}

    def attempt(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run(*COMPOSE, *arguments, environ={**self.environ, **environ})

    def compose(self, *arguments: str, **environ: str) -> str:
        done = self.attempt(*arguments, **environ)
        require(done.returncode == 0, f"docker-compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Ids, the running ones only, the oldest first."""
        return self._listed("ps", "--no-trunc", "--filter", f"label=com.docker.compose.service={service}")[::-1]

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", container).stdout)
        return found[0]

    def name_of(self, container: str) -> str:
        return str(self.inspect(container)["Name"]).lstrip("/")

    def address(self, container: str) -> str:
        """Its address in the zone."""
        return str(self.inspect(container)["NetworkSettings"]["Networks"][f"{self.name}_zone"]["IPAddress"])

    def python(self, container: str, program: str, *arguments: str) -> str:
        done = run("docker", "exec", "-i", container, "python", "-", *arguments, given=program)
        require(done.returncode == 0, f"in {self.name_of(container)}:\n{done.stderr}")
        return done.stdout

    def kill(self, container: str) -> None:
        """kill -9 of its process, from the host: to Docker a crash, which its restart policy answers. (After `docker
        kill` it would think that somebody wanted the container gone.)"""
        os.kill(int(self.inspect(container)["State"]["Pid"]), signal.SIGKILL)

    def healthy(self, counts: Mapping[str, int] | None = None) -> bool:
        """Whether every service has its number of containers, and each says that it takes work."""
        for service in SERVICES:
            states = [self.inspect(container)["State"] for container in self.containers(service)]
            if len(states) != (counts or {}).get(service, 1) or any(not _healthy(state) for state in states):
                return False
        return True

    def left(self) -> list[str]:
        """Whatever of this project Docker still knows."""
        return [
            f"{kind} {name}"
            for kind, listed in (
                ("container", ("ps", "-a")),
                ("network", ("network", "ls")),
                ("volume", ("volume", "ls")),
            )
            for name in self._listed(*listed)
        ]

    def _listed(self, *listed: str) -> list[str]:
        label = f"label=com.docker.compose.project={self.name}"
        return run("docker", *listed, "--quiet", "--filter", label).stdout.split()


def _healthy(state: Mapping[str, Any]) -> bool:
    return bool(state["Running"] and state.get("Health", {}).get("Status") == "healthy")
