"""The engines that can take the seat: where each is opened, what it needs installed, and what is said without it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.inference.models.wheel import ModelUnavailable

if TYPE_CHECKING:
    from services.inference.engine.opening import EngineSettings
    from services.inference.engine.protocol import Engine

log = logging.getLogger(__name__)

ENVIRONMENTS = Path(__file__).parents[3] / ".cache" / "engines"

Progress = Callable[[str], None]


class EngineMissing(ModelUnavailable):
    """The engine that a setting names cannot run here; the message says what installs it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One engine, before it is opened: nothing of it is imported."""

    name: str
    runs: str  # what it is for, in a line
    opens: str  # module:function(settings, home, progress)
    needs: tuple[str, ...] = ()  # modules that this process must be able to import
    beside: tuple[str, ...] = ()  # modules that its own process must, here or in an environment of its own
    environment: str = ""  # that environment's folder
    target: str = ""  # of make: installs them
    apart: bool = False  # the whole worker runs in that environment: `strongroom up` starts it with its Python
    computes: bool = False  # in this process, by threads that outlive the one that opens it

    def missing(self, environments: str = "") -> tuple[str, ...]:
        """Modules without which it cannot be opened."""
        beside = () if self._own(environments) else self.beside
        return tuple(_absent((*self.needs, *beside)))

    def interpreter(self, environments: str = "") -> tuple[str, str]:
        """The Python for a process of its own, and why this one."""
        if own := self._own(environments):
            return str(own), f"its own environment, {own.parents[1]}"
        return sys.executable, "this environment, which has its packages"

    def open(self, settings: EngineSettings, home: Path, progress: Progress) -> Engine:
        """Raises EngineMissing, ModelUnavailable or ValueError, whose message says what to do."""
        if missing := self.missing(settings.environments):
            others = [one.name for one in CANDIDATES.values() if not one.missing(settings.environments)]
            raise EngineMissing(
                f"the engine {self.name} needs {', '.join(missing)}, not installed here: run make {self.target}, or "
                f"set STRONGROOM_INFERENCE_ENGINE to one of {', '.join(others)}"
            )
        log.info("engine: %s, as STRONGROOM_INFERENCE_ENGINE says: %s", self.name, self.runs)
        module, _, function = self.opens.partition(":")
        opening: Any = getattr(importlib.import_module(module), function)
        engine: Engine = opening(settings, home, progress)
        return engine

    def _own(self, environments: str) -> Path | None:
        python = (Path(environments) if environments else ENVIRONMENTS) / self.environment / "bin" / "python"
        return python if self.environment and python.is_file() else None


def _absent(modules: Iterable[str]) -> list[str]:
    return [module for module in modules if importlib.util.find_spec(module) is None]


_ENGINE = "services.inference.engine"

CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate(
            name="torch",
            runs="transformers models on CPU and CUDA",
            opens=f"{_ENGINE}.torch_opening:open_torch_engine",
            needs=("torch", "transformers"),
            target="setup",
            computes=True,
        ),
        Candidate(
            name="openvino",
            runs="converted models on Intel CPUs and GPUs, in a process of its own",
            opens=f"{_ENGINE}.openvino_opening:open_openvino_engine",
            needs=("transformers",),
            beside=("openvino", "openvino_genai"),
            environment="openvino-genai",
            target="openvino",
        ),
        Candidate(
            name="vllm",
            runs="several GPUs, several nodes, and what vLLM alone serves",
            opens=f"{_ENGINE}.vllm_opening:open_vllm_engine",
            needs=("vllm", "transformers"),
            environment="vllm",
            target="vllm-engine",
            apart=True,
        ),
        Candidate(name="echo", runs="wiring and load tests, without a model", opens=f"{_ENGINE}.echo:open_echo"),
    )
}
