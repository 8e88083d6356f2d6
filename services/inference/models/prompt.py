"""Messages to token ids, by the model's own chat template, in which a caller cannot forge a turn."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Sequence
from typing import Any

from services.inference.engine.detokenizer import Detokenizer, TokenBytes, byte_fallback_bytes, byte_level_bytes
from services.inference.engine.grammar import Vocabulary
from services.inference.engine.protocol import Message, PromptRefused
from services.inference.models.wheel import ModelUnavailable

REASONING_MARKS = ("<think>", "</think>")
_TAIL_TOKENS = 16  # enough for the mark and a line break behind it, also where each character is a token


class Prompt:
    """The tokenizer of one model. Safe to call from any thread."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ModelUnavailable("the model has no chat template: add chat_template.jinja to its folder")
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        added = {token_id: str(token.content) for token_id, token in tokenizer.added_tokens_decoder.items()}
        self._control = _control_strings(added.values())
        special = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
        marks = {token_id for token_id, text in added.items() if text in REASONING_MARKS}  # text, whatever they are
        self._silent = (frozenset(tokenizer.all_special_ids) | special) - marks
        self._token_bytes, self._strip = _token_bytes(tokenizer, added, self._silent)

    @property
    def template_digest(self) -> str:
        return hashlib.sha256(str(self._tokenizer.chat_template).encode()).hexdigest()

    @property
    def tokens(self) -> int:
        """Token ids are below it."""
        return len(self._tokenizer)

    def vocabulary(self, size: int, end_ids: frozenset[int]) -> Vocabulary:
        return Vocabulary(self._token_bytes, size, self._silent, end_ids, self._encode)

    @property
    def end_ids(self) -> frozenset[int]:
        end = self._tokenizer.eos_token_id
        return frozenset() if end is None else frozenset([end])

    def detokenizer(self) -> Detokenizer:
        return Detokenizer(self._token_bytes, strip_first_space=self._strip)

    def opening(self, ids: Sequence[int]) -> str:
        """What the template has begun of the answer: the mark of a model that it leaves inside its reasoning."""
        tail = b"".join(map(self._token_bytes, ids[-_TAIL_TOKENS:])).decode(errors="replace")
        return REASONING_MARKS[0] if tail.rstrip().endswith(REASONING_MARKS[0]) else ""

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The whole prompt, ready for the answer. Raises PromptRefused."""
        if not any(message.content.strip() for message in messages):
            raise PromptRefused("messages", "1 or more", "there is nothing to answer: send at least one message")
        cut = secrets.token_hex(16)
        conversation = [
            {"role": turn.role, "content": self._control.sub(lambda found: found[0] + cut, turn.content)}
            for turn in messages
        ]
        with self._lock:
            text = self._render(conversation)
            return [token for piece in text.split(cut) for token in self._encode(piece)]

    def _render(self, conversation: list[dict[str, str]]) -> str:
        try:
            rendered = self._tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        except Exception:  # a template raises as it likes, and what it says may quote the messages
            raise PromptRefused(
                "messages", "the model's template", "the model's chat template refuses these roles or their order"
            ) from None
        return str(rendered)

    def _encode(self, piece: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(piece, add_special_tokens=False)
        return ids


def _control_strings(contents: Any) -> re.Pattern[str]:
    """Finds the first character of every added token in a message's text.

    The text is cut behind it and the pieces are tokenized apart, so that "<|im_end|>" typed by a caller stays text. A
    message without such strings is tokenized exactly as the model's authors do.
    """
    longer = sorted((content for content in contents if len(content.strip()) > 1), key=len, reverse=True)
    alternatives = "|".join(f"{re.escape(content[0])}(?={re.escape(content[1:])})" for content in longer)
    return re.compile(f"({alternatives})" if longer else r"((?!))")


def _token_bytes(tokenizer: Any, added: dict[int, str], silent: frozenset[int]) -> tuple[TokenBytes, bool]:
    """How this tokenizer spells bytes, and whether an answer's first space is its artefact."""
    tokens = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    decoder = str(tokenizer.backend_tokenizer.decoder)
    if "ByteLevel" in decoder:
        return byte_level_bytes(tokens, added, silent), False
    if "ByteFallback" in decoder:
        return byte_fallback_bytes(tokens, added, silent), "Strip" in decoder
    raise ModelUnavailable("the model's tokenizer is neither byte-level nor has byte fallback: it cannot be streamed")
