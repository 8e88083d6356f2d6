"""Engines on the GPU, requests for them, and the lines that a run prints at its end because they were measured."""

from __future__ import annotations

import copy
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import Engine, Message, Sampling, StepOutput, Work

DEVICE = os.environ.get("STRONGROOM_TEST_DEVICE", "cuda")  # cpu: these tests can be debugged where no GPU is
TEXTS = ["ab", "the quick brown fox", "x" * 150, "中文和 English", "0123456789 " * 9, "q"]
MEASURED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[MEASURED]:
        terminalreporter.section("measured on the GPU")
        for line in config.stash[MEASURED]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a figure that is no test: it is printed at the end, whether or not the tests pass."""
    return request.config.stash[MEASURED].append


@pytest.fixture(scope="session", autouse=True)
def device(measured: Callable[[str], None]) -> str:
    """Skips every test here where there is no GPU."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    name = torch.cuda.get_device_name(0) if DEVICE == "cuda" else DEVICE
    software = f"torch {torch.__version__}, transformers {transformers.__version__}"
    measured(f"{name}; {software}, Python {platform.python_version()}, kernel {platform.release()}")
    return DEVICE


@pytest.fixture
def cuda(device: str) -> Any:
    """`torch.cuda`, for tests that mean nothing on CPU."""
    import torch

    if device != "cuda":
        pytest.skip("about a GPU's own memory and streams")
    return torch.cuda


@pytest.fixture(scope="session")
def on_device(device: str, tiny_model: Callable[[str], Any]) -> Callable[..., Any]:
    """`on_device(family, dtype)`: the tiny transformers model there, a copy to do with as one likes."""

    def moved(family: str, dtype: Any) -> Any:
        return copy.deepcopy(tiny_model(family)).to(device=device, dtype=dtype)

    return moved


@pytest.fixture(scope="session")
def gpu_engine(device: str, on_device: Callable[..., Any], tiny_tokenizer: Any) -> Callable[..., Any]:
    """`gpu_engine(family, dtype, **settings)`: an engine around a tiny model."""
    import torch

    from services.inference.engine.torch_opening import assemble
    from services.inference.models.device import Device
    from services.inference.models.loading import LoadedModel
    from services.inference.models.prompt import Prompt

    def make(family: str = "llama", dtype: Any = torch.float32, **settings: Any) -> Any:
        loaded = LoadedModel(
            model=on_device(family, dtype),
            prompt=Prompt(tiny_tokenizer),
            name=f"tiny-{family}",
            revision="",
            digest="",
            device=Device(name=device, reason="test"),
            dtype=dtype,
            parameters=0,
        )
        return assemble(loaded, EngineSettings(**({"slots": 6, "context_tokens": 600} | settings)))

    return make


@pytest.fixture(scope="session")
def smollm2_home(device: str, request: pytest.FixtureRequest) -> Path:
    """A home folder with the default model, where its wheel is installed."""
    from services.inference.models.wheel import ModelUnavailable, find

    try:
        find()
    except ModelUnavailable as missing:
        pytest.skip(str(missing))
    home: Path = request.getfixturevalue("models_home")
    return home


@pytest.fixture(scope="session")
def asked() -> Callable[..., Work]:
    """`asked(number, text=…, emitted=…, **sampling)`: the request r<number>."""

    def make(number: int, *, text: str | None = None, emitted: tuple[int, ...] = (), **sampling: Any) -> Work:
        chosen = Sampling(**({"temperature": 0.0, "top_p": 0.95, "seed": number, "max_tokens": 12} | sampling))
        message = Message(role="user", content=TEXTS[number % len(TEXTS)] if text is None else text)
        return Work(request_id=f"r{number}", messages=(message,), sampling=chosen, emitted=emitted)

    return make


@pytest.fixture(scope="session")
def answers() -> Callable[..., dict[str, list[StepOutput]]]:
    """`answers(engine, works, every=n)`: admits one every n steps (0: as slots allow) and runs until the end."""

    def finish(engine: Engine, works: Iterable[Work], every: int = 0) -> dict[str, list[StepOutput]]:
        waiting, step = list(works), 0
        outputs: dict[str, list[StepOutput]] = {}
        while waiting or engine.live():
            while waiting and engine.capacity().free_slots and (not every or step % every == 0):
                engine.admit(waiting.pop(0))
                if every:
                    break
            for output in engine.step():
                outputs.setdefault(output.request_id, []).append(output)
            step += 1
        return outputs

    return finish


@pytest.fixture(scope="session")
def tokens(answers: Callable[..., dict[str, list[StepOutput]]]) -> Callable[..., dict[str, list[int]]]:
    """As `answers`, but only each request's token ids."""

    def run(engine: Engine, works: Iterable[Work], every: int = 0) -> dict[str, list[int]]:
        return {
            name: [token for output in outputs for token in output.token_ids]
            for name, outputs in answers(engine, works, every).items()
        }

    return run
