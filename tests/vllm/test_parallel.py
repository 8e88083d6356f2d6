"""Several ranks on one machine, each on cores of its own: `make test-vllm` runs it under vLLM's own Python."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.protocol import Message, Sampling, Work

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None or not os.environ.get("STRONGROOM_TEST_VLLM"),
        reason="needs vLLM's own Python: make test-vllm",
    ),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two ranks need two cores"),
    pytest.mark.timeout(900),
]


# Compiled, as it makes the buffers between the groups: eagerly vLLM 0.32 ends at the first step on a CPU.
@pytest.mark.parametrize(
    "how", [{"tensor_parallel": 2, "fused": False}, {"pipeline_parallel": 2}], ids=["tensor", "pipeline"]
)
def test_two_ranks_answer_as_generate_does(
    how: dict[str, Any], tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    import torch

    from services.inference.engine.opening import EngineSettings, open_engine
    from services.inference.models.prompt import Prompt

    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)  # of the case before
    model = tiny_model("llama-wide")
    model.save_pretrained(tmp_path / "models" / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "models" / "tiny")
    settings = EngineSettings(engine="vllm", model="tiny", dtype="float32", slots=2, context_tokens=256, **how)
    engine = open_engine(settings, tmp_path)
    try:
        messages = (Message(role="user", content="the quick brown fox"),)
        engine.admit(Work(request_id="a", messages=messages, sampling=Sampling(temperature=0.0, max_tokens=12)))
        made: list[int] = []
        while engine.live():
            made += [token for output in engine.step() for token in output.token_ids]
    finally:
        engine.close()
    ids = torch.tensor([Prompt(tiny_tokenizer).ids(messages)])
    expected = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=258)[0, ids.shape[1] :].tolist()
    assert made == expected
