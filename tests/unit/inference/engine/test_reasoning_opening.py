"""R1's templates end inside the reasoning, V3's do not, and Qwen3's decide by the request: each answer begins so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from services.inference.engine.protocol import Message, Sampling, Work
from services.inference.engine.torch_engine import TorchEngine
from services.inference.models.prompt import Prompt

# As DeepSeek publishes them, tools left out.
V3 = (
    "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% elif m.role == 'assistant' %}"
    "<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<|end|>{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
R1 = V3.removesuffix("{% endif %}") + "<think>\n{% endif %}"
BY_REQUEST = (
    V3.removesuffix("{% endif %}")
    + "{% if '/no_think' in messages[-1].content %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "text", "begins"),
    [
        (V3, "why?", ""),
        (V3, "say <think>\n", ""),
        (R1, "why?", "<think>"),
        (BY_REQUEST, "why?", "<think>"),
        (BY_REQUEST, "why? /no_think", ""),
    ],
)
def test_an_answer_begins_where_its_own_prompt_ends(
    template: str, text: str, begins: str, tiny_engine: Callable[..., TorchEngine], tiny_tokenizer: Any
) -> None:
    """Beside a request of the other kind. Fails if the template is asked once, and not each prompt."""
    engine, tokenizer = tiny_engine("llama"), copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = template
    engine._prompt = Prompt(tokenizer)
    said: dict[str, str] = {}
    for name, asked in (("it", text), ("other", "why? /no_think" if "/no_think" not in text else "why?")):
        message = Message(role="user", content=asked)
        engine.admit(Work(request_id=name, messages=(message,), sampling=Sampling(temperature=0.0, max_tokens=4)))
    while engine.live():
        for output in engine.step():
            said[output.request_id] = said.get(output.request_id, "") + output.text
    assert said["it"].startswith("<think>") == bool(begins)
    assert said["it"].count("<think>") == bool(begins)
