"""A minute of `make soak-engine`: the real model, callers who leave, deadlines, a worker killed again and again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

asked = os.environ.get("CI") == "true" or os.environ.get("STRONGROOM_SOAK")
pytestmark = [pytest.mark.soak, pytest.mark.skipif(not asked, reason="a minute and more: set STRONGROOM_SOAK=1")]


@pytest.mark.timeout(900)
def test_nothing_is_lost_stuck_or_altered_in_a_minute_of_mixed_traffic(home: Path):
    """Fails if a claimed request's emitted tokens are not replayed, or a cancelled one keeps its slot."""
    soak = [sys.executable, "-W", "ignore", "-m", "benchmarks.soak_engine", "--minutes", "1", "--seed", "1"]
    few = ["--questions", "4", "--kill-seconds", "22", "--home", str(home)]
    done = subprocess.run([*soak, *few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
