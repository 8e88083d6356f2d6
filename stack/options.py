"""What `up` was asked for: settings of the stack, from flags first and then from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from chassis.settings import PORT_OFFSETS, StackSettings, load
from chassis.settings import variables as own_variables
from services.inference.engine.seat import CANDIDATES
from stack.services_settings import check_services

MAX_WORKERS = 8  # ports up to base + 37; more than this on one machine only share its cores
ENGINE_VARIABLE = "STRONGROOM_INFERENCE_ENGINE"
ENGINES = tuple(CANDIDATES)


@dataclass(frozen=True, kw_only=True)
class StackOptions(StackSettings):
    """The shared settings, and what only the local stack knows."""

    workers: int = 1  # inference processes
    start_seconds: float = 180  # a service that is not ready by then has failed; converting the model not counted

    def check(self) -> list[str]:
        problems = []
        if not 1 <= self.workers <= MAX_WORKERS:
            problems.append(f"STRONGROOM_STACK_WORKERS: {self.workers} is not between 1 and {MAX_WORKERS}")
        if self.start_seconds <= 0:
            problems.append(f"STRONGROOM_STACK_START_SECONDS: {self.start_seconds} is not above 0")
        return problems


@dataclass(frozen=True)
class Stack:
    """One local stack: its options, and the environment that every process of it gets."""

    options: StackOptions
    environment: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.options.home

    @property
    def engine(self) -> str:
        return self.environment.get(ENGINE_VARIABLE, "torch")

    @property
    def own_redis(self) -> str:
        """Where the stack's own Redis listens, if it has one; never anywhere but on loopback."""
        return f"127.0.0.1:{self.options.port_base + PORT_OFFSETS['redis']}"

    @property
    def run_folder(self) -> Path:
        return self.home / "run"

    @property
    def log_folder(self) -> Path:
        return self.home / "log"


def stack_options(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Stack:
    """A flag that is None was not given. Raises chassis.settings.InvalidSettings, naming every wrong one."""
    variables = {
        "STRONGROOM_HOME": flags.get("home"),
        "STRONGROOM_PORT_BASE": flags.get("port_base"),
        "STRONGROOM_STACK_WORKERS": flags.get("workers"),
        ENGINE_VARIABLE: flags.get("engine"),
    }
    given = {name: str(value) for name, value in variables.items() if value is not None}
    environment = {**environ, **given}
    options = load(StackOptions, "stack", environment)
    options = replace(options, home=options.home.expanduser().absolute())
    # Children may run in another folder than the one a relative home was meant from.
    environment |= {"STRONGROOM_HOME": str(options.home), "STRONGROOM_PORT_BASE": str(options.port_base)}
    if options.keys:
        environment["STRONGROOM_KEYS"] = str(options.keys.expanduser().absolute())
    check_services(environment, frozenset(own_variables(StackOptions, "stack")))
    return Stack(options, environment)
