"""Each engine in the same seat, for tests that hold for all of them; and what of it goes into docs/engines.md.

A test names the features that it shows with `@pytest.mark.feature`. An engine that lacks one of them skips it; that it
then refuses what asks for it is a test of its own. An engine that is not installed here is skipped, with the reason.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import Engine, Message, Sampling, StepOutput, Work
from services.inference.engine.seat import CANDIDATES
from tests.conformance.matrix import DOCUMENT, Results, written
from tests.conftest import SHAPE
from tests.rpc.conftest import make_job, queue_key, redis_url, shared_redis, ticket_key  # noqa: F401
from tests.rpc.inference.conftest import gateway, queue_keys, worker  # noqa: F401

SLOTS, CONTEXT_TOKENS = 4, 600
OF_WORK = {"emitted", "rank", "scope", "adapter", "deadline_ns"}
ENVIRONMENTS = os.environ.get("STRONGROOM_INFERENCE_ENVIRONMENTS", "")
SETTINGS = EngineSettings(slots=SLOTS, context_tokens=CONTEXT_TOKENS)


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for the tiny model and what it is converted to; STRONGROOM_TEST_MODELS keeps it between runs."""
    kept, shape = os.environ.get("STRONGROOM_TEST_MODELS"), hashlib.sha256(repr(SHAPE).encode()).hexdigest()[:12]
    return Path(kept) / f"tiny-{shape}" if kept else tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def made(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tiny_home: Path) -> Iterator[Callable[[str], Engine]]:
    """`made(name)`: the one engine of that name, with four slots, around a tiny random model where it has a model."""
    engines: dict[str, Engine] = {}

    def make(name: str) -> Engine:
        candidate = CANDIDATES[name]
        if missing := candidate.missing(ENVIRONMENTS):
            target = f"test-{name}, which runs this by its own Python" if candidate.apart else candidate.target
            pytest.skip(f"{', '.join(missing)} not installed here: make {target}")
        if name == "echo":
            from services.inference.engine.echo import EchoEngine

            return EchoEngine(slots=SLOTS, context_tokens=CONTEXT_TOKENS)
        if name == "openvino":
            return openvino_engine(tiny_model("llama"), tiny_tokenizer, tiny_home)
        if name == "vllm":
            return vllm_engine(tiny_model("llama-wide"), tiny_tokenizer, tiny_home)
        return torch_engine(copy.deepcopy(tiny_model("llama")), tiny_tokenizer)

    def get(name: str) -> Engine:
        if name not in engines:
            engines[name] = make(name)
        return engines[name]

    yield get
    for engine in engines.values():
        engine.close()
        assert engine.live() == frozenset()


def torch_engine(model: Any, tokenizer: Any) -> Engine:
    import torch

    from services.inference.engine.torch_opening import assemble
    from services.inference.models.device import Device
    from services.inference.models.loading import LoadedModel
    from services.inference.models.prompt import Prompt

    device = Device(name="cpu", reason="test")
    loaded = LoadedModel(
        model=model, prompt=Prompt(tokenizer), name="tiny", revision="", digest="", device=device,
        dtype=torch.float32, parameters=0,
    )  # fmt: skip
    return assemble(loaded, SETTINGS)


def openvino_engine(model: Any, tokenizer: Any, home: Path) -> Engine:
    from deploy.environments import environment
    from services.inference.engine.opening import open_engine
    from services.inference.models.openvino import export, find, folder_of

    source, target = home / "models" / "tiny", folder_of(home / "models", "tiny", "none")
    if find(target) is None:
        converter = environment("openvino-export")
        if not converter.ready:
            pytest.skip("openvino's converter is not installed: make openvino")
        model.save_pretrained(source)
        tokenizer.save_pretrained(source)
        export(source, target, "fp16", converter.folder / "bin" / "optimum-cli", print)
    settings = replace(SETTINGS, engine="openvino", model="tiny", dtype="float32", environments=ENVIRONMENTS)
    return open_engine(settings, home)


def vllm_engine(model: Any, tokenizer: Any, home: Path) -> Engine:
    from services.inference.engine.opening import open_engine

    source = home / "models" / "tiny"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    return open_engine(replace(SETTINGS, engine="vllm", model="tiny", dtype="float32", fused=False), home)


@pytest.fixture(params=list(CANDIDATES))
def engine(request: pytest.FixtureRequest, made: Callable[[str], Engine]) -> Iterator[Engine]:
    """Empty, and it must be so again afterwards, all of its room free."""
    one = made(request.param)
    if lacked := [name for name in _rows(request.node) if name in one.model.lacks]:
        pytest.skip(f"{one.name} has no {', '.join(lacked)}, and refuses it by name")
    before = one.capacity()
    yield one
    for request_id in sorted(one.live()):
        one.cancel(request_id)
    assert one.capacity() == before


@pytest.fixture(scope="session")
def work() -> Callable[..., Work]:
    """`work("id", "text", seed=1)`: greedy and of six tokens unless told otherwise."""

    def make(request_id: str, text: str = "a b c d e f g", **asked: Any) -> Work:
        of_work = {name: asked.pop(name) for name in OF_WORK & asked.keys()}
        sampling = Sampling(**({"temperature": 0.0, "max_tokens": 6} | asked))
        message = Message(role="user", content=text)
        return Work(request_id=request_id, messages=(message,), sampling=sampling, **of_work)

    return make


@pytest.fixture(scope="session")
def finish() -> Callable[..., dict[str, Told]]:
    """Steps until nothing is live: what was said of each request, with what was said before."""

    def run(engine: Engine, before: Sequence[StepOutput] = ()) -> dict[str, Told]:
        outputs = list(before)
        while engine.live():
            outputs += engine.step()
        told: dict[str, Told] = {}
        for output in outputs:
            told.setdefault(output.request_id, Told()).append(output)
        return told

    return run


class Told(list[StepOutput]):
    """One request's outputs, in order."""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for output in self for token in output.token_ids)

    @property
    def text(self) -> str:
        return "".join(output.text for output in self)

    @property
    def end(self) -> StepOutput:
        return self[-1]


RESULTS = Results()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    engine = getattr(item, "callspec", None) and item.callspec.params.get("engine")
    lacked = report.when == "setup" and report.skipped and "refuses it by name" in str(report.longrepr)
    if engine and (report.when == "call" or report.failed or lacked):
        RESULTS.note(engine, _rows(item), report.outcome)
    return report


def pytest_sessionfinish() -> None:
    """`make conformance` sets the variable."""
    if os.environ.get("STRONGROOM_CONFORMANCE") == "write":
        DOCUMENT.write_text(written(DOCUMENT.read_text(), RESULTS.matrix()))


def _rows(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("feature") for name in mark.args]
