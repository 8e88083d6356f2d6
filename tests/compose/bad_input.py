"""What a person may get wrong: each ends with its reason and its remedy, non-zero, and nothing of it runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foreign_image import FOREIGN, foreign_image
from project import ROOT, Project, require, run

MISCONFIGURED = 78
NO_ROOM = 75


def check_all(project: Project, secrets: Path, scratch: Path) -> Iterator[str]:
    """Yields a line for each. The stack of the project is down; its journal is there."""
    yield _a_secret_missing(project, secrets, scratch)
    yield _a_secret_of_somebody_else(project, secrets, scratch)
    yield _a_volume_read_only(project, scratch)
    yield _a_full_volume(project, scratch)
    yield _a_volume_of_somebody_else(project, scratch)
    yield _a_volume_of_another_format(project, scratch)
    yield _a_model_missing(project, scratch)
    yield _a_port_in_use(project)
    with foreign_image(scratch) as image:
        yield _an_image_for_another_processor(image)
        yield _all_at_once(image, secrets, scratch)


def _a_secret_missing(project: Project, secrets: Path, scratch: Path) -> str:
    """docker-compose 1 makes no container then; others make a folder in the file's place, which the service names."""
    with _copied(secrets, scratch / "missing") as broken:
        (broken / "queue").unlink()
        done = project.attempt("run", "--rm", "--no-deps", "-T", "gateway", STRONGROOM_SECRETS=str(broken))
        said = done.stdout + done.stderr
        require(done.returncode != 0 and str(broken / "queue") in said, f"a missing secret: {done.returncode} {said}")
        (broken / "queue").mkdir()
        os.chown(broken / "queue", 10_001, 10_001)
        named = "queue is a folder: the secret was not there"
        return _refused(project, "gateway", named, STRONGROOM_SECRETS=str(broken))


def _a_secret_of_somebody_else(project: Project, secrets: Path, scratch: Path) -> str:
    with _copied(secrets, scratch / "foreign") as broken:
        os.chown(broken / "ticket", 0, 0)
        said = "ticket may not be used by uid 10001: it belongs to uid 0 with mode 0600"
        return _refused(project, "inference", said, STRONGROOM_SECRETS=str(broken))


def _a_volume_read_only(project: Project, scratch: Path) -> str:
    return _refused(project, "audit", "is on a read-only file system", mount=_mounting(scratch, "journal", ":ro"))


def _a_full_volume(project: Project, scratch: Path) -> str:
    """Four megabytes, which is less than the journal takes at once."""
    with _volume(
        project, "small", "true", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=4m,uid=10001"
    ) as volume:
        return _refused(project, "audit", "has no room for 8 MiB", mount=_mounting(scratch, volume), code=NO_ROOM)


def _a_volume_of_somebody_else(project: Project, scratch: Path) -> str:
    """A volume that root filled, as after a copy by hand."""
    script = "mkdir -p /data/audit && chown 0:0 /data /data/audit && chmod 700 /data"
    with _volume(project, "foreign", script) as volume:
        return _refused(project, "audit", "may not be used by uid 10001", mount=_mounting(scratch, volume))


def _a_volume_of_another_format(project: Project, scratch: Path) -> str:
    script = "mkdir -p /data/audit && echo strongroom-audit 0 > /data/audit/format && chown -R 10001:10001 /data"
    with _volume(project, "old", script) as volume:
        said = "has format 0, and this version reads and writes format 1"
        return _refused(project, "audit", said, mount=_mounting(scratch, volume))


def _a_model_missing(project: Project, scratch: Path) -> str:
    (scratch / "no-models").mkdir()
    return _refused(project, "inference", "put it there", STRONGROOM_MODELS=str(scratch / "no-models"))


def _a_port_in_use(project: Project) -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = project.attempt("up", "-d", "--no-deps", "gateway", STRONGROOM_HTTP_PORT=port)
    said = done.stdout + done.stderr
    require(done.returncode != 0 and port in said and "already in use" in said, f"a port in use: {said}")
    require(not project.containers("gateway"), "the gateway runs without its port")
    project.compose("rm", "-f", "-s", "gateway")
    return f"a port in use: docker-compose ends with {done.returncode}: 127.0.0.1:{port}: address already in use"


def _an_image_for_another_processor(image: str) -> str:
    """Only the kernel can say it, as nothing of ours can run; deploy/preflight.sh says it before, and what to do."""
    done = run("docker", "run", "--rm", "--network", "none", image)
    require(done.returncode != 0 and "exec format error" in done.stderr, f"another processor: {done.stderr}")
    return f"an image for another processor: exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}"


def _all_at_once(image: str, secrets: Path, scratch: Path) -> str:
    """deploy/preflight.sh names everything that is wrong, before anything starts."""
    with _copied(secrets, scratch / "preflight") as broken, socket.create_server(("127.0.0.1", 0)) as taken:
        (broken / "queue").unlink()
        (broken / "ticket").chmod(0o644)
        port = str(taken.getsockname()[1])
        environ = {"STRONGROOM_IMAGE": image, "STRONGROOM_SECRETS": str(broken), "STRONGROOM_PORT": port}
        environ |= {"STRONGROOM_MODELS": str(scratch / "no-models")}
        done = run(str(ROOT / "deploy" / "preflight.sh"), environ={**os.environ, **environ})
    said = [f"{image} is for {FOREIGN}", "queue is missing", "ticket is of uid 10001 with mode 644"]
    said += [f"127.0.0.1:{port} is taken", "no model lies in"]
    missing = [each for each in said if each not in done.stderr]
    require(done.returncode == MISCONFIGURED and not missing, f"preflight: {done.returncode}, {missing}: {done.stderr}")
    return f"all at once: deploy/preflight.sh ends with {done.returncode}: {'; '.join(said)}"


def _refused(
    project: Project, service: str, said: str, mount: Path | None = None, code: int = MISCONFIGURED, **environ: str
) -> str:
    """It ends with that code and the reason, whatever its restart policy: `run` makes one that is tried once."""
    files = ("--file", str(ROOT / "compose.yaml"), "--file", str(mount)) if mount else ()
    done = project.attempt(*files, "run", "--rm", "--no-deps", "-T", service, **environ)
    output = done.stdout + done.stderr
    require(done.returncode == code and said in output, f"{service}, {said!r}: {done.returncode}\n{output}")
    [line] = [line for line in output.splitlines() if said in line]
    return f"{service}: exit {done.returncode}: {line.strip()}"


def _mounting(scratch: Path, volume: str, how: str = "") -> Path:
    """An override of compose.yaml in which audit has another volume. (`run --volume` beside the service's own mount of
    the same folder takes now the one and now the other.)"""
    path = scratch / "override.yaml"
    override: dict[str, object] = {"services": {"audit": {"volumes": [f"{volume}:/data{how}"]}}}
    if volume != "journal":
        override["volumes"] = {volume: {"external": True}}
    path.write_text(json.dumps(override))  # JSON is YAML
    return path


@contextmanager
def _copied(secrets: Path, to: Path) -> Iterator[Path]:
    shutil.copytree(secrets, to)
    for path in to.iterdir():
        os.chown(path, 10_001, 10_001)
    yield to


@contextmanager
def _volume(project: Project, name: str, script: str, *options: str) -> Iterator[str]:
    """A volume with content, made by root in a container; it goes again."""
    volume = f"{project.name}-{name}"
    image = project.environ["STRONGROOM_IMAGE"]
    try:
        run("docker", "volume", "create", *options, volume)
        made = run(
            *("docker", "run", "--rm", "--user", "0", "--network", "none", "--volume", f"{volume}:/data", image),
            *("sh", "-ec", script),
        )
        require(made.returncode == 0, made.stderr)
        yield volume
    finally:
        run("docker", "volume", "rm", "--force", volume)
