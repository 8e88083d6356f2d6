"""What each container may reach, measured by trying: every service of the zone, the host, and the world outside."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from outside import host_port, outside
from project import SERVICES, Project, require, run

PORTS = {
    "redis": (7409,),
    "audit": (7403, 7413),
    "guard": (7401, 7411),
    "inference": (7402, 7412),
    "gateway": (7400, 7410),
    "monitor": (7404, 7414),
}
OUTSIDE, HOST, NAME = "outside", "host", "names outside"
CONFINED = ("redis", "audit", "guard", "inference")
NAME_OUTSIDE = "example.com"

# In the container: tries everything at once. A name is asked for as the system would, through Docker's own resolver.
TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(target):
    host, port = target
    try:
        if port:
            socket.create_connection((host, port), 4).close()
        else:
            socket.getaddrinfo(host, 443)
    except OSError as error:
        return type(error).__name__
    return ""

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(reached, targets))))
"""

Reach = dict[str, bool]


def measured(project: Project) -> dict[str, Reach]:
    """By service: what it could connect to."""
    edge = json.loads(run("docker", "network", "inspect", f"{project.name}_edge").stdout)[0]
    with outside() as world, host_port(edge["IPAM"]["Config"][0]["Gateway"]) as host:
        _check_control(project, world)
        beyond = {HOST: host, OUTSIDE: world, NAME: (NAME_OUTSIDE, 0)}
        with ThreadPoolExecutor() as pool:
            tried = pool.map(lambda service: _of(project, service, beyond), SERVICES)
            return dict(zip(SERVICES, tried))


def _of(project: Project, service: str, beyond: dict[str, tuple[str, int]]) -> Reach:
    targets = {other: (other, port) for other in SERVICES if other != service for port in PORTS[other][:1]} | beyond
    [container, *_] = project.containers(service)
    failures = json.loads(project.python(container, TRY, json.dumps(list(targets.values()))))
    return {name: not failure for name, failure in zip(targets, failures)}


def _check_control(project: Project, world: tuple[str, int]) -> None:
    """A container on Docker's own bridge does get out: else the others' failing would say nothing."""
    image = project.environ.get("STRONGROOM_IMAGE", "strongroom:latest")
    done = run(
        *("docker", "run", "--rm", "-i", "--network", "bridge", image, "python", "-", json.dumps([world])), given=TRY
    )
    require(done.stdout.strip() == '[""]', f"a container with a way out does not get out: {done.stdout}{done.stderr}")


def table(reach: dict[str, Reach]) -> list[str]:
    columns = [*SERVICES, HOST, OUTSIDE, NAME]
    lines = ["from \\ to   " + "  ".join(columns)]
    for service, reached in reach.items():
        cells = [
            ("·" if column == service else "yes" if reached[column] else "no").ljust(len(column)) for column in columns
        ]
        lines.append(f"{service:<12}" + "  ".join(cells).rstrip())
    return lines


def check(reach: dict[str, Reach]) -> None:
    for service, reached in reach.items():
        require(not reached[OUTSIDE] and not reached[NAME], f"{service} gets out: {reached}")
        require(not reached[HOST] or service not in CONFINED, f"{service} reaches the host")
    require(reach["gateway"]["audit"] and reach["gateway"]["guard"], "the gateway does not reach its neighbours")
