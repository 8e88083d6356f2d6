"""Which Python runs the workers: the suite's own, or that of an engine which lives in an environment of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from chassis.start import CannotStart
from services.inference.engine.seat import CANDIDATES, ENVIRONMENTS
from stack.options import Stack

VARIABLE = "STRONGROOM_INFERENCE_ENVIRONMENTS"
APART_START_SECONDS = 900.0  # of one whose first start compiles the model
APART_GRACE_SECONDS = 30.0  # for its own processes to end


def worker_python(stack: Stack) -> str:
    """Raises CannotStart where the engine's Python is not there."""
    engine = CANDIDATES[stack.engine]
    if not engine.apart or not engine.missing():
        return sys.executable
    folder = Path(stack.environment.get(VARIABLE) or ENVIRONMENTS).absolute() / engine.environment
    python = folder / "bin" / "python"
    if not python.is_file():
        raise CannotStart(
            f"the engine {engine.name} lives in an environment of its own, and {folder} is none: "
            f"`make {engine.target}` makes it, or name the folder that holds one in {VARIABLE}"
        )
    return str(python)


def start_seconds(stack: Stack) -> float:
    """How long a worker may take until it is ready."""
    return max(stack.options.start_seconds, APART_START_SECONDS if CANDIDATES[stack.engine].apart else 0.0)


def grace_seconds(stack: Stack) -> float:
    """How long a worker may take to end after SIGTERM, beside what others may."""
    return APART_GRACE_SECONDS if CANDIDATES[stack.engine].apart else 0.0
