"""What a request begins with where there is a model: its prompt's token ids, and its answer as far as it is said."""

from __future__ import annotations

from services.inference.engine.answer import Answer
from services.inference.engine.protocol import ModelInfo, PromptTooLong, Work
from services.inference.engine.shaping import Shaping
from services.inference.models.prompt import Prompt


def rendered(work: Work, prompt: Prompt, model: ModelInfo, *, tokens: int) -> list[int]:
    """`tokens`: of the whole KV cache. Raises EngineRefusal."""
    work.sampling.check_ids(model.vocabulary)
    ids = prompt.ids(work.messages)
    bound = min(model.context_tokens, tokens) - work.sampling.max_tokens
    if len(ids) > bound:
        raise PromptTooLong(len(ids), bound)
    return ids


def begun(
    work: Work, ids: list[int], prompt: Prompt, end_ids: frozenset[int], shaping: Shaping | None = None
) -> Answer:
    """Behind what another worker, or this engine before it gave way, has told of it."""
    answer = Answer(prompt.detokenizer(), work.sampling, end_ids, prompt.opening(ids), shaping)
    answer.replay(work.emitted)
    return answer
