"""LiteLLM's proxy and Portkey's gateway: installed from their pins into a cache folder, started, and found again."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PINS = Path(__file__).parent
CACHE = Path(os.environ.get("BENCHMARKS_CACHE", Path(__file__).parents[3] / ".cache" / "edges"))
LITELLM_KEY = f"sk-{secrets.token_hex(24)}"  # of this run


@dataclass(frozen=True)
class Peer:
    """A gateway that can be started before an upstream."""

    name: str
    version: str
    headers: Callable[[str], dict[str, str]]  # by the upstream's URL
    install: Callable[[Path], None]
    command: Callable[[Path, int], list[str | Path]]  # by its folder and port
    environment: Callable[[str], dict[str, str]]

    @property
    def folder(self) -> Path:
        """Named by what is installed into it."""
        pins = b"".join(path.read_bytes() for path in sorted(PINS.iterdir()) if path.suffix in (".txt", ".json"))
        return CACHE / f"{self.name}-{hashlib.sha256(pins).hexdigest()[:12]}"

    def prepare(self) -> None:
        """Installs it, once."""
        done = self.folder / "installed"
        if done.exists():
            return
        print(f"installing {self.name} {self.version} into {self.folder}", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.install(self.folder)
        done.touch()

    def start(self, port: int, upstream: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("wb")
        environment = {**os.environ, **self.environment(upstream)}
        return subprocess.Popen(
            self.command(self.folder, port), env=environment, cwd=self.folder, stdout=log, stderr=log
        )


def _install_litellm(folder: Path) -> None:
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, "-r", str(PINS / "litellm.txt")], check=True, stdout=sys.stderr)


def _install_portkey(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINS / name, folder)
    # Its only script patches sources that the package does not ship.
    npm = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=folder, check=True, stdout=sys.stderr)


LITELLM = Peer(
    name="litellm",
    version="1.106.12",
    headers=lambda upstream: {"authorization": f"Bearer {LITELLM_KEY}"},
    install=_install_litellm,
    command=lambda folder, port: [
        *(folder / "venv" / "bin" / "litellm", "--config", PINS / "litellm.yaml", "--telemetry", "False"),
        *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    ],
    environment=lambda upstream: {
        "UPSTREAM": upstream,
        "LITELLM_MASTER_KEY": LITELLM_KEY,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches one
    },
)
PORTKEY = Peer(
    name="portkey",
    version="1.15.2",
    headers=lambda upstream: {
        "authorization": "Bearer none",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": upstream,
    },
    install=_install_portkey,
    command=lambda folder, port: [
        *("node", "--require", PINS / "loopback.cjs"),
        *(folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js", "--headless"),
        f"--port={port}",
    ],
    environment=lambda upstream: {"NODE_ENV": "production"},
)
