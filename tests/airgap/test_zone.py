"""An archive of `make bundle` on a machine without a network and without an image: `make test-bundle`.

The machine is a network namespace that holds a loopback interface and nothing else, with a Docker of its own in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BUNDLE = os.environ.get("STRONGROOM_BUNDLE", "") and str(Path(os.environ["STRONGROOM_BUNDLE"]).resolve())
MISSING = [name for name in ("dockerd", "docker", "docker-compose", "unshare", "nsenter") if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(not BUNDLE, reason="STRONGROOM_BUNDLE names no archive: make test-bundle"),
    pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace and a Docker of its own"),
    pytest.mark.timeout(900),
]
READY_SECONDS = 300


@dataclass(frozen=True)
class Zone:
    pid: int  # of its Docker: names the network namespace
    folder: Path

    def run(self, *command: object, where: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_HOST": self.docker_host, **more}
        inside = ["nsenter", f"--target={self.pid}", "--net", "--", *map(str, command)]
        return subprocess.run(
            inside, cwd=where or self.folder, env=environ, capture_output=True, text=True, timeout=READY_SECONDS
        )

    def said(self, *command: object, where: Path | None = None, **more: str) -> str:
        done = self.run(*command, where=where, **more)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def docker_host(self) -> str:
        return f"unix://{self.folder}/docker.sock"


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    options = [f"--data-root={tmp_path}/data", f"--exec-root={tmp_path}/exec", f"--pidfile={tmp_path}/docker.pid"]
    start = f"ip link set lo up && exec dockerd {' '.join(options)} --host=unix://{tmp_path}/docker.sock"
    with (tmp_path / "docker.log").open("w") as log:
        docker = subprocess.Popen(["unshare", "--net", "sh", "-c", start], stdout=log, stderr=log)
    made = Zone(docker.pid, tmp_path)
    try:
        until(lambda: made.run("docker", "version").returncode == 0, "its Docker answers", seconds=60)
        yield made
    finally:
        docker.send_signal(signal.SIGTERM)
        docker.wait(60)
        with contextlib.suppress(OSError):
            shutil.rmtree(tmp_path)


def until(condition, what: str, seconds: float = READY_SECONDS) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def install(zone: Zone, archive: Path) -> subprocess.CompletedProcess[str]:
    script = Path(BUNDLE).with_name("install.sh")
    shown = zone.run("sh", script, archive)
    fingerprint = shown.stderr.split("--fingerprint ")[-1].strip()
    return zone.run("sh", script, archive, "--fingerprint", fingerprint, "--into", zone.folder / "stack")


def test_a_question_is_answered_where_nothing_leads_out(zone: Zone) -> None:
    """Fails if any image, package or model is missing in the archive."""
    assert {link["ifname"] for link in json.loads(zone.said("ip", "-json", "link"))} == {"lo", "docker0"}
    assert zone.said("ip", "route", "show", "default") == ""
    assert zone.said("docker", "images", "--quiet") == ""

    installed = install(zone, Path(BUNDLE))
    assert installed.returncode == 0, installed.stderr
    stack = zone.folder / "stack"
    image = (stack / ".env").read_text().strip().partition("=")[2]
    assert what_image_lacks(zone, image) == {"pip", "gcc", "debootstrap", "/src", "/wheels", "/etc/apt/sources.list"}
    secrets = ("--user", "0:0", "--volume", f"{stack}/deploy/secrets:/secrets")
    keys = ("strongroom", "keys", "/secrets", "--owner", "10001:10001")
    zone.said("docker", "run", "--rm", "--network", "none", *secrets, image, *keys)
    zone.said("deploy/preflight.sh", where=stack)
    zone.said("docker-compose", "up", "--detach", where=stack)
    try:
        until(lambda: all_healthy(zone, stack), "every container is healthy")
        key = (stack / "deploy/secrets/development-api-key").read_text().strip()
        ask = ("ask", "What is the capital of France?", "--json", "--temperature", "0", "--max-tokens", "16")
        cli = ("docker-compose", "run", "--rm", "-T", "-e", "STRONGROOM_API_KEY", "cli")
        answer = json.loads(zone.said(*cli, *ask, where=stack, STRONGROOM_API_KEY=key))
        assert "Paris" in answer["text"]
        assert answer["receipt"]
        assert zone.said("docker-compose", "run", "--rm", "-T", "verify", where=stack)
    finally:
        zone.run("docker-compose", "down", "--volumes", where=stack)


def what_image_lacks(zone: Zone, image: str) -> set[str]:
    """Of what built it; and of two programs that it needs."""
    programs = ("pip", "gcc", "debootstrap", "redis-server", "strongroom")
    places = ("/src", "/wheels", "/etc/apt/sources.list")
    lines = [f"command -v {one} > /dev/null || echo {one}" for one in programs]
    lines += [f"test -e {one} || echo {one}" for one in places]
    lines += ["python -c 'import pip' 2> /dev/null && echo 'module pip'", "true"]
    said = zone.said("docker", "run", "--rm", "--network", "none", image, "sh", "-c", "; ".join(lines))
    return set(said.splitlines())


def all_healthy(zone: Zone, stack: Path) -> bool:
    ids = zone.said("docker-compose", "ps", "--quiet", where=stack).split()
    states = zone.said("docker", "inspect", "--format", "{{.State.Health.Status}}", *ids).split()
    return len(ids) >= 6 and set(states) == {"healthy"}


def test_half_of_the_archive_loads_nothing(zone: Zone) -> None:
    half = zone.folder / "half.tar"
    with Path(BUNDLE).open("rb") as whole, half.open("wb") as cut:
        cut.write(whole.read(Path(BUNDLE).stat().st_size // 2))
    refused = install(zone, half)
    assert refused.returncode != 0
    assert "copy it once more" in refused.stderr
    assert zone.said("docker", "images", "--quiet") == ""
    assert not (zone.folder / "stack").exists()
