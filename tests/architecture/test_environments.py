"""What a worker imports on its way to the vllm engine is in that engine's environment, whole in its pins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINS = ROOT / "deploy" / "environments" / "vllm.txt"

# Of packages that are installed here and not there, as if they were not here either. The last modules are those that
# opening an engine imports within its functions.
PROGRAM = """
import re, sys
from importlib.metadata import packages_distributions

def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()

lines = open(sys.argv[1]).read().splitlines()
pinned = {normal(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
ours = {"strongroom-suite", "strongroom", "strongroom-protos", "strongroom-client"}
for top, names in packages_distributions().items():
    if not (pinned | ours) & {normal(name) for name in names}:
        sys.modules[top] = None  # as if it were not installed

import services.inference.__main__
import services.inference.engine.vllm_opening
import services.inference.models.loading
import services.inference.models.device
"""


def test_a_worker_with_the_vllm_engine_imports_nothing_that_its_environment_has_not() -> None:
    """Fails if a module on the way imports accelerate when it is loaded: no vllm worker would start."""
    asked = [sys.executable, "-c", PROGRAM, str(PINS)]
    ended = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-600:]
