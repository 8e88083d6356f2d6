"""Nothing is fetched while a worker runs, unless a setting allows it."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

LOAD = """
from services.inference.models.hub import settle_hub
settle_hub(False)
from services.inference.models.loading import ModelSource, load
from pathlib import Path
import sys
loaded = load(ModelSource(model="firm/model", device="cpu"), Path(sys.argv[1]))
print(loaded.revision, loaded.digest)
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
    return _run(OPEN, home, allowed, str(home), HF_ENDPOINT=hub.address, NO_PROXY="127.0.0.1")


def _run(program: str, home: Path, *arguments: str, **more: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environ |= {"HF_HOME": str(home / "hub"), **more}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=150).stdout


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


def test_of_a_model_out_of_the_hubs_cache_commit_and_digest_are_known(
    tmp_path: Path, tiny_model: Callable[[str], Any], tiny_tokenizer: Any
) -> None:
    """Fails if the snapshot is not looked for: its records could not be told from those of other weights."""
    commit, cache = "0123456789abcdef" * 2 + "01234567", tmp_path / "hub" / "hub" / "models--firm--model"
    snapshot = cache / "snapshots" / commit
    tiny_model("llama").save_pretrained(snapshot)
    tiny_tokenizer.save_pretrained(snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    weights = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    assert _run(LOAD, tmp_path, str(tmp_path)).split() == [commit, weights]


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
