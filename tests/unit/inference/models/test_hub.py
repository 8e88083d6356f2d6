"""Nothing is fetched while a worker runs, unless a setting allows it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.inference.models.hub import settle_hub

OPEN = """
from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.models.wheel import ModelUnavailable
from pathlib import Path
import sys
try:
    open_engine(EngineSettings(model="firm/model", hub=sys.argv[1] == "hub"), Path(sys.argv[2]))
except ModelUnavailable as missing:
    print(missing)
"""


class Hub:
    """Listens where the hub would; counts who comes and hangs up."""

    def __init__(self) -> None:
        self.asked = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            self.asked += 1
            caller.close()


def open_missing_model(hub: Hub, allowed: str, home: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environ |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home / "hub"), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, allowed, str(home)], env=environ, capture_output=True, text=True, timeout=150
    )
    return done.stdout


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_a_missing_model_is_not_looked_for_outside(hub: Hub, tmp_path: Path) -> None:
    """Fails if `settle_hub` and `local_files_only` leave the environment and the call as they are."""
    assert "put it there, or allow the hub" in open_missing_model(hub, "no", tmp_path)
    assert hub.asked == 0


def test_the_setting_allows_it(hub: Hub, tmp_path: Path) -> None:
    open_missing_model(hub, "hub", tmp_path)
    assert hub.asked > 0


def test_the_libraries_are_told_before_they_are_imported() -> None:
    environ = {"HF_HUB_OFFLINE": "0"}
    settle_hub(False, environ)
    assert environ == {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def test_a_machine_that_forbids_the_hub_wins_and_is_named() -> None:
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE=1 forbids it: unset one of them"):
        settle_hub(True, {"HF_HUB_OFFLINE": "1"})
    environ = {"TRANSFORMERS_OFFLINE": "false"}
    settle_hub(True, environ)
    assert environ == {"TRANSFORMERS_OFFLINE": "false"}
