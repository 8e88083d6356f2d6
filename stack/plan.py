"""What a local stack runs: one process a service and worker, with addresses, probes and the order of the stop."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS, load
from services.gateway.settings import GatewaySettings
from stack.interpreter import grace_seconds, worker_python
from stack.options import Stack
from stack.probes import redis_probe, service_probe
from stack.process import GRACE_SECONDS, Plan
from stack.redis_server import NAME as REDIS
from stack.redis_server import find_redis_server, socket_of, url_of, write_config

WORKER_PORTS = 20  # worker k ≥ 1 has base + 20 + 2k and the port above
WATCHED_WORKERS = "STRONGROOM_MONITOR_WORKERS"
WORKER_VARIABLE = "STRONGROOM_INFERENCE_WORKER"

# Stopped group by group: whoever uses another goes first, so that nothing is cut off in the middle of its work.
STOP_ORDER = (("gateway",), ("inference",), ("guard", "monitor"), ("audit",), (REDIS,))


def plans(stack: Stack) -> list[Plan]:
    """Everything, the most needed first. Raises CannotStart where a worker's Python is missing."""
    own_redis = [] if stack.options.redis_url else [_redis(stack)]
    services = [_service(stack, name) for name in ("audit", "guard", "gateway")]
    monitor = _service(stack, "monitor", {WATCHED_WORKERS: str(stack.options.workers)})
    workers = [_worker(stack, number) for number in range(stack.options.workers)]
    return [*own_redis, *services, monitor, *workers]


def stop_groups(names: Iterable[str]) -> list[list[str]]:
    """The running processes' names in the order to stop them."""
    rest = list(names)
    groups = [[name for name in rest if service_of(name) in group] for group in STOP_ORDER]
    return [group for group in groups if group]


def service_of(process: str) -> str:
    """`inference-2` is a worker of inference."""
    return process.partition("-")[0]


def _service(stack: Stack, name: str, extra: dict[str, str] | None = None) -> Plan:
    port = stack.options.port_base + PORT_OFFSETS[name]
    return _python(stack, name, f"services.{name}", port, port + HTTP_OFFSET, extra)


def _worker(stack: Stack, number: int) -> Plan:
    if number == 0:
        return _service(stack, "inference")
    port = stack.options.port_base + WORKER_PORTS + 2 * number
    return _python(stack, f"inference-{number}", "services.inference", port, port + 1, {WORKER_VARIABLE: str(number)})


def _python(stack: Stack, name: str, module: str, port: int, http: int, extra: dict[str, str] | None = None) -> Plan:
    grpc_address, http_address = f"{stack.options.bind}:{port}", f"{stack.options.bind}:{http}"
    works = service_of(name) == "inference"
    grace = GRACE_SECONDS + (drain_seconds(stack) if name == "gateway" else grace_seconds(stack) if works else 0)
    python = worker_python(stack) if works else sys.executable
    return Plan(
        name=name,
        command=(python, "-m", module),
        environment={**stack.environment, **_own_redis(stack), **(extra or {})},
        log=_log(stack, name),
        probe=service_probe(grpc_address, http_address),
        grpc=grpc_address,
        http=http_address,
        ports=(grpc_address, http_address),
        grace_seconds=grace,
    )


def drain_seconds(stack: Stack) -> float:
    """How long the gateway may wait for what runs. It is stopped first, so then nobody else holds anything."""
    return load(GatewaySettings, "gateway", stack.environment).drain_seconds


def _own_redis(stack: Stack) -> dict[str, str]:
    """Where the stack's processes find its Redis, if not at its port."""
    socket = None if stack.options.redis_url else socket_of(stack.home / REDIS)
    return {} if socket is None else {"STRONGROOM_REDIS_URL": url_of(socket)}


def _redis(stack: Stack) -> Plan:
    config = write_config(stack.home / REDIS, stack.own_redis)
    return Plan(
        name=REDIS,
        command=(str(find_redis_server(stack.environment)), str(config)),
        environment=stack.environment,
        log=_log(stack, REDIS),
        probe=redis_probe(stack.own_redis),
        ports=(stack.own_redis,),
    )


def _log(stack: Stack, name: str) -> Path:
    return stack.log_folder / f"{name}.log"
