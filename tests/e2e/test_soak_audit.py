"""A short `make soak-audit`: audit as a process, 64 callers, its index behind them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

asked = os.environ.get("CI") == "true" or os.environ.get("STRONGROOM_SOAK")
pytestmark = [pytest.mark.soak, pytest.mark.skipif(not asked, reason="up to two minutes: set STRONGROOM_SOAK=1")]


@pytest.mark.timeout(900)
def test_memory_stays_and_the_log_verifies_under_many_appends():
    """Fails if what audit keeps of every record, or the index process of every batch, is kept for good."""
    soak = [sys.executable, "-m", "benchmarks.soak_audit", "--appends", "60000"]
    done = subprocess.run(soak, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
