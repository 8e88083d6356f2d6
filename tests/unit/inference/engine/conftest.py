"""Engines for the engine's tests: around tiny random models, and around the real default one, loaded once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.batch import Segment
from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_opening import assemble
from services.inference.models.device import Device
from services.inference.models.loading import LoadedModel, ModelSource, load
from services.inference.models.prompt import Prompt

MakeEngine = Callable[..., TorchEngine]


class Faulty:
    """Takes the place of an engine's runner; `check` sees every pass before it is made, and may raise."""

    def __init__(self, engine: TorchEngine, check: Callable[[Sequence[Segment]], None]) -> None:
        self._engine, self._runner, self._check = engine, engine._runner, check
        engine._runner = self

    @property
    def mixes(self) -> bool:
        return self._runner.mixes

    @property
    def embedding(self) -> torch.Tensor:
        return self._runner.embedding

    def run(self, segments: Sequence[Segment]) -> torch.Tensor:
        self._check(segments)
        return self._runner.run(segments)

    def remove(self) -> None:
        self._engine._runner = self._runner


@pytest.fixture(scope="session")
def faulty() -> type[Faulty]:
    return Faulty


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: Callable[[str], Any], tiny_tokenizer: Any) -> MakeEngine:
    """An engine around a copy of the tiny model; keyword arguments are engine settings."""

    def make(family: str = "llama", **settings: Any) -> TorchEngine:
        model = copy.deepcopy(tiny_model(family))
        loaded = LoadedModel(
            model=model,
            prompt=Prompt(tiny_tokenizer),
            name=f"tiny-{family}",
            revision="",
            digest="",
            device=Device(name="cpu", reason="test"),
            dtype=torch.float32,
            parameters=0,
        )
        return assemble(loaded, EngineSettings(**({"slots": 4, "context_tokens": 600} | settings)))

    return make


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> LoadedModel:
    """Plain, as transformers loads it: the reference for `generate`."""
    return load(ModelSource(dtype="float32", device="cpu"), models_home)


@pytest.fixture(scope="session")
def smollm2_engine(models_home: Path) -> TorchEngine:
    loaded = load(ModelSource(dtype="float32", device="cpu"), models_home)
    return assemble(loaded, EngineSettings(slots=8, context_tokens=1024))
