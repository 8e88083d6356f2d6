"""Which Python runs a worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chassis.start import CannotStart
from stack.interpreter import VARIABLE, grace_seconds, start_seconds, worker_python
from stack.options import Stack, stack_options
from stack.plan import plans


def stack_in(home: Path, engine: str, environments: Path, **environ: str) -> Stack:
    environ |= {"PATH": os.environ["PATH"], VARIABLE: str(environments)}
    return stack_options({"home": home, "engine": engine}, environ)


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    python = tmp_path / "environments" / "vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return tmp_path / "environments"


@pytest.mark.parametrize("engine", ["torch", "echo"])
def test_an_engine_of_our_own_runs_on_our_own_python(tmp_path: Path, environments: Path, engine: str) -> None:
    stack = stack_in(tmp_path, engine, environments)
    assert worker_python(stack) == sys.executable
    assert (start_seconds(stack), grace_seconds(stack)) == (stack.options.start_seconds, 0)


def test_an_engine_apart_runs_its_workers_on_its_python_and_no_other_service(
    tmp_path: Path, environments: Path
) -> None:
    """Fails if the gateway is started with it too: that environment has not what a gateway needs."""
    stack = stack_in(tmp_path, "vllm", environments, STRONGROOM_STACK_WORKERS="2")
    pythons = {plan.name: plan.command[0] for plan in plans(stack) if plan.name != "redis"}
    apart = {name for name, python in pythons.items() if python == str(environments / "vllm" / "bin" / "python")}
    assert apart == {"inference", "inference-1"}
    assert {python for name, python in pythons.items() if name not in apart} == {sys.executable}
    assert start_seconds(stack) > stack.options.start_seconds and grace_seconds(stack) > 0


def test_where_there_is_none_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=f"`make vllm-engine` makes it, or name .* in {VARIABLE}"):
        plans(stack_in(tmp_path, "vllm", tmp_path / "nothing"))
