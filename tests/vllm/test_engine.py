"""The vllm engine on the real vLLM and the real small model, eagerly and in fp32: `make test-vllm` runs it.

vLLM lives in an environment of its own, so this runs under that environment's Python and is skipped under ours.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.inference.engine.protocol import EngineDied, Finish, Message, Sampling, StepOutput, Work
from services.inference.engine.sampling import Grammar, GrammarKind
from tests.unit.inference.engine.stepping import finish, text

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None or not os.environ.get("STRONGROOM_TEST_VLLM"),
        reason="needs vLLM's own Python: make test-vllm",
    ),
    pytest.mark.timeout(900),
]

PATIENCE_SECONDS = 300.0
BLOCK_TOKENS = 128  # of vLLM's prefix cache, on a CPU
CAPITAL = "What is the capital of France?"
LONG = "Summarize this. " + "The sea is wide and the ship is small, said the old man to the boy. " * 20


class Receiver:
    """Of OTLP over gRPC: what vLLM's exporter sends, and by which token."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.tokens: set[str] = set()

    def Export(self, request: Any, context: Any) -> Any:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        self.tokens |= {str(value) for name, value in context.invocation_metadata() if name == "authorization"}
        scopes = [scope for resource in request.resource_spans for scope in resource.scope_spans]
        self.spans += [span for scope in scopes for span in scope.spans]
        return ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, Receiver]]:
    """Its address, and what came."""
    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

    receiving, server = Receiver(), grpc.server(ThreadPoolExecutor(1))
    rpc.add_TraceServiceServicer_to_server(receiving, server)  # type: ignore[no-untyped-call, unused-ignore]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", receiving
    server.stop(0).wait()


@pytest.fixture(scope="module")
def engine(models_home: Path, receiver: tuple[str, Receiver]) -> Iterator[Any]:
    from services.inference.engine.opening import EngineSettings, open_engine

    settings = EngineSettings(
        engine="vllm", dtype="float32", slots=8, context_tokens=768, fused=False, prefill_tokens=256,
        traces_address=receiver[0], traces_token="of-inference",
    )  # fmt: skip
    made = open_engine(settings, models_home)
    yield made
    made.close()
    assert engines() == []


def engines() -> list[psutil.Process]:
    """vLLM's processes below this one."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if child.name().startswith("VLLM") and child.status() != psutil.STATUS_ZOMBIE]


def work(request_id: str, text: str = CAPITAL, *, emitted: tuple[int, ...] = (), **more: Any) -> Work:
    told = {name: more.pop(name) for name in ("scope", "rank", "deadline_ns", "traceparent") if name in more}
    chosen = Sampling(**({"temperature": 0.0, "max_tokens": 24} | more))
    message = Message(role="user", content=text)
    return Work(request_id=request_id, messages=(message,), sampling=chosen, emitted=emitted, **told)


def ran(engine: Any, *works: Work) -> dict[str, list[StepOutput]]:
    return finish(engine, *works, patience=PATIENCE_SECONDS)


def tokens(outputs: list[StepOutput]) -> tuple[int, ...]:
    return tuple(token for output in outputs for token in output.token_ids)


def until(true: Callable[[], bool]) -> None:
    over = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < over, "it never came to be"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plain(engine: Any) -> list[StepOutput]:
    return ran(engine, work("plain"))["plain"]


def test_its_tokens_are_those_of_generate(engine: Any, plain: list[StepOutput], models_home: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = models_home / "models" / "smollm2-135m-instruct"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [{"role": "user", "content": CAPITAL}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :].tolist()
    assert tokens(plain) == tuple(made)
    assert plain[-1].input_tokens == ids["input_ids"].shape[1]
    assert (text(plain), plain[-1].finish) == ("The capital of France is Paris.", Finish.STOP)


def test_a_continuation_is_what_was_left(engine: Any, plain: list[StepOutput]) -> None:
    cuts = (1, 4, len(tokens(plain)) - 1)
    outputs = ran(engine, *(work(str(cut), emitted=tokens(plain)[:cut]) for cut in cuts))
    for cut in cuts:
        assert tokens(outputs[str(cut)]) == tokens(plain)[cut:]
        assert text(outputs[str(cut)]) == text(plain[cut:])


def test_each_field_of_sampling_does_what_it_says(engine: Any, plain: list[StepOutput]) -> None:
    first = tokens(plain)[0]
    outputs = ran(
        engine,
        work("stop", stop=("Paris",)),
        work("stop_ids", stop_ids=(tokens(plain)[2],)),
        work("min_tokens", min_tokens=20),
        work("logit_bias", logit_bias=((first, -100.0),), max_tokens=3),
        work("max_tokens", max_tokens=2),
        work("top_k", temperature=1.5, top_k=1, seed=3),
    )
    assert (text(outputs["stop"]), outputs["stop"][-1].finish) == ("The capital of France is ", Finish.STOP)
    assert tokens(outputs["stop_ids"]) == tokens(plain)[:3]
    assert len(tokens(outputs["min_tokens"])) >= 20
    assert tokens(outputs["logit_bias"])[0] != first
    assert tokens(outputs["max_tokens"]) == tokens(plain)[:2]
    assert outputs["max_tokens"][-1].finish is Finish.LENGTH
    assert tokens(outputs["top_k"]) == tokens(plain)


@pytest.mark.parametrize("penalty", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_a_penalty_changes_what_repeats(engine: Any, penalty: str) -> None:
    asked = {"max_tokens": 80, "min_tokens": 80}
    outputs = ran(engine, work("a", LONG, **asked), work("b", LONG, **asked, **{penalty: 1.9}))
    assert tokens(outputs["b"]) != tokens(outputs["a"])


def test_a_seed_gives_the_same_tokens_whoever_runs_beside_it(engine: Any) -> None:
    alone = ran(engine, work("a", temperature=0.9, seed=7))["a"]
    beside = ran(engine, *(work(f"{seed}", temperature=0.9, seed=seed) for seed in (7, 8, 2**64 - 1)))
    assert tokens(beside["7"]) == tokens(alone)
    assert len({tokens(outputs) for outputs in beside.values()}) == 3


def test_grammars_hold(engine: Any) -> None:
    city = {"type": "string", "maxLength": 12}
    schema = json.dumps(
        {"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": False}
    )
    outputs = ran(
        engine,
        work("schema", grammar=Grammar(kind=GrammarKind.JSON_SCHEMA, text=schema), max_tokens=80),
        work("regex", grammar=Grammar(kind=GrammarKind.REGEX, text="[A-Z]{3}-[0-9]{4}"), max_tokens=40),
    )
    assert set(json.loads(text(outputs["schema"]))) == {"city"}
    assert re.fullmatch("[A-Z]{3}-[0-9]{4}", text(outputs["regex"]))


def test_logprobs_are_the_models_own(engine: Any, plain: list[StepOutput]) -> None:
    outputs = ran(engine, work("a", logprobs=3, max_tokens=4))["a"]
    told = [one for output in outputs for one in output.logprobs]
    assert b"".join(one.token for one in told).decode() == text(outputs)
    for one in told:
        assert one.top[0] == (one.token, one.logprob) and len(one.top) == 3
        assert [logprob for _, logprob in one.top] == sorted((logprob for _, logprob in one.top), reverse=True)


def test_a_cancelled_request_runs_no_longer_in_vllm(engine: Any) -> None:
    """Fails if `cancel` does not abort: vLLM would go on to the end of the answer."""
    engine.admit(work("gone", LONG, max_tokens=300, min_tokens=300))
    while not engine.step():
        pass
    assert engine.cancel("gone")
    made = engine.load().output_tokens
    until(lambda: _rests(engine))
    assert engine.load().output_tokens < made + 100


def _rests(engine: Any) -> bool:
    steps = engine.load().steps
    time.sleep(1.0)
    return bool(engine.load().steps == steps)


def test_a_deadline_ends_it_in_vllm_too(engine: Any) -> None:
    late = ran(engine, work("late", LONG, max_tokens=300, min_tokens=300, deadline_ns=time.monotonic_ns() + 10**9))
    assert not any(output.last for output in late.get("late", ()))
    until(lambda: _rests(engine))


def test_an_urgent_request_is_begun_before_those_that_came_before_it(engine: Any) -> None:
    """Each prompt fills a step and more, so they wait for each other. Fails if the class is not told to vLLM."""
    order: list[str] = []
    for name, rank in (("batch-0", 2), ("batch-1", 2), ("batch-2", 2), ("batch-3", 2), ("urgent", 0)):
        engine.admit(work(name, f"{name}: {LONG}", rank=rank, max_tokens=2))
    while engine.live():
        for output in engine.step():
            if output.request_id not in order:
                order.append(output.request_id)
    assert order.index("urgent") < order.index("batch-2") < order.index("batch-3"), order


def test_a_common_beginning_is_found_within_its_scope_and_nowhere_else(engine: Any) -> None:
    """Fails if the salt does not depend on the scope, or a request without a scope shares."""

    def found(scope: str) -> int:
        before = engine.load().prefix_found
        ran(engine, work("a", "Scopes! " + LONG, scope=scope, max_tokens=1))
        return int(engine.load().prefix_found - before)

    assert engine.prompt_tokens(work("a", "Scopes! " + LONG)) > 2 * BLOCK_TOKENS
    assert found("tenant:a") == 0
    assert found("tenant:a") >= 2 * BLOCK_TOKENS
    assert found("tenant:b") == 0
    assert found("") == found("") == 0


def test_of_a_request_that_is_traced_vllms_own_span_hangs_under_it(engine: Any, receiver: tuple[str, Receiver]) -> None:
    """Fails if `_begin` leaves the traceparent out, or vLLM samples on its own."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    ran(
        engine,
        work("not chosen", traceparent=f"00-{trace[::-1]}-{parent}-00", max_tokens=1),
        work("untraced", max_tokens=1),
        work("traced", traceparent=f"00-{trace}-{parent}-01", max_tokens=2),
    )
    until(lambda: bool(receiver[1].spans))
    [span] = receiver[1].spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("llm_request", trace, parent)
    assert receiver[1].tokens == {"Bearer of-inference"}


def test_everything_listens_on_loopback(engine: Any) -> None:
    listening = [
        connection.laddr.ip
        for process in (psutil.Process(), *psutil.Process().children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    addresses = {ipaddress.ip_address(ip) for ip in listening}
    assert all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in addresses), addresses


def test_when_vllm_dies_the_engine_says_so_unasked(engine: Any) -> None:
    """The last one: there is no engine after it."""
    engine.admit(work("held", LONG, max_tokens=300, min_tokens=300))
    for process in engines():
        process.send_signal(signal.SIGKILL)
    with pytest.raises(EngineDied):
        over = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < over:
            engine.capacity()
            time.sleep(0.05)
