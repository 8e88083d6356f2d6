"""For tests of all layers: Debian's programs, a token, a process's spans, models: random ones, and the default one.

Packages are imported where they are used: a test that needs none of them runs where they are not installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

# Of torch's threads, in tests and in the workers that tests start, one that waits sleeps instead of spinning. Where
# something else wants a core, a spinning one takes it from the very thread that is waited for: passes then took a
# hundred times as long. OpenMP reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it; terminals that tests open have a width of their own

TEMPLATE = (
    "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception(m.content) }}"
    "{% endif %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "eos_token_id": 257,
    "pad_token_id": 258,
    "initializer_range": 0.5,  # so that argmax is decided by the context, not by one favourite token
}
LATENT_SHAPE = SHAPE | {
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "moe_intermediate_size": 32,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "qk_nope_head_dim": 32,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "initializer_range": 0.1,
}

Program = Callable[[str, str], str]
STACKS = ("tests/airgap/", "tests/e2e/", "tests/suite/")

# A shell that runs this in the background has it ignore Ctrl-C, and every process that tests start with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`: a file's tests stay together, and so do all that start whole stacks. Those mostly wait, each for its
    own processes, and two stacks side by side would wait for each other's."""
    from xdist.scheduler import LoadScopeScheduling

    class BesideTheStacks(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return STACKS[0] if nodeid.startswith(STACKS) else nodeid.partition("::")[0]

    return BesideTheStacks(config, log)


@pytest.fixture(scope="session")
def debian_program() -> Program:
    """`debian_program(name, package)`: its path. Without it a test is skipped; where CI installs it, it fails."""

    def path(name: str, package: str) -> str:
        if found := shutil.which(name):
            return found
        missing = f"{name} is not here: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)

    return path


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory, debian_program: Program) -> Iterator[tuple[str, Path]]:
    """The tool and the library, on a folder of tokens of the session's own. The library reads its settings once."""
    tool = debian_program("softhsm2-util", "softhsm2")
    module = next(path for path in Path("/usr/lib").glob("**/softhsm/libsofthsm2.so"))
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    yield tool, module
    del os.environ["SOFTHSM2_CONF"]
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def token(softhsm: tuple[str, Path], tmp_path: Path) -> dict[str, object]:
    """Settings of audit for a fresh token."""
    import pkcs11

    tool, module = softhsm
    name, pin = f"t{uuid4().hex[:12]}", "7391"
    made = ["--init-token", "--free", "--label", name, "--so-pin", "1234", "--pin", pin]
    subprocess.run([tool, *made], check=True, capture_output=True)
    pkcs11.lib(str(module)).reinitialize()  # it lists the tokens that there are when it starts
    (tmp_path / "pin").write_text(f"{pin}\n")
    (tmp_path / "pin").chmod(0o600)
    return {
        "home": tmp_path / "home",
        "key_provider": "pkcs11",
        "hsm_module": module,
        "hsm_token": name,
        "hsm_pin_file": tmp_path / "pin",
    }


@pytest.fixture
def spans() -> Iterator[Callable[[], list[ReadableSpan]]]:
    """The spans of this process that ended so far, all requests chosen."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from chassis.sampling import Sampler, Tracing
    from chassis.span_export import into
    from chassis.tracing import send_spans_to

    exporter = InMemorySpanExporter()
    send_spans_to(into(SimpleSpanProcessor(exporter), "test"), Sampler(Tracing(share=1.0)))
    yield lambda: list(exporter.get_finished_spans())
    send_spans_to(None)


@pytest.fixture(scope="session")
def left_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first stack leaves a link to the default model that it converted, for the run's other processes too."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "converted"


@pytest.fixture(scope="session")
def models_home(tmp_path_factory: pytest.TempPathFactory, left_model: Path) -> Path:
    """A home folder with the default model; STRONGROOM_TEST_MODELS keeps it between runs."""
    from services.inference.models.convert import converted

    kept = os.environ.get("STRONGROOM_TEST_MODELS")
    home = Path(kept) if kept else tmp_path_factory.mktemp("home")
    if left_model.exists() and not kept:
        (home / "models").symlink_to(left_model)
    converted(home)
    return home


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level, one token a byte, and three special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from services.inference.engine.detokenizer import byte_alphabet

    backend = Tokenizer(models.BPE(vocab=byte_alphabet(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<|turn|>", "<|end|>", "<|pad|>")])
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[str], Any]:
    """The plain transformers model of a family, on CPU in fp32: the reference. It is shared: copy it to change it."""
    made: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in made:
            made[family] = _tiny(family).eval().requires_grad_(False)
        return made[family]

    return get


def _tiny(family: str) -> Any:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    if family == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE))
    if family == "llama-wide":  # vLLM's attention on a CPU has no heads below 32
        return hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE | {"head_dim": 32}))
    if family == "qwen2":
        return hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE))
    if family == "qwen3":
        return hf.Qwen3ForCausalLM(hf.Qwen3Config(**SHAPE))
    if family == "mistral":  # every layer has a window
        return hf.MistralForCausalLM(hf.MistralConfig(**SHAPE, sliding_window=20))
    if family == "qwen2-sliding":  # the second layer has one
        window = {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}
        return hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE, **window))
    if family == "deepseek-v2":
        return hf.DeepseekV2ForCausalLM(hf.DeepseekV2Config(q_lora_rank=None, **LATENT_SHAPE))
    return hf.DeepseekV3ForCausalLM(hf.DeepseekV3Config(q_lora_rank=48, **LATENT_SHAPE))
