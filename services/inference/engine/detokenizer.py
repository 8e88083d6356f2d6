"""Token ids to text, one at a time: bytes in, whole characters out."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping

TokenBytes = Callable[[int], bytes]


def byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes (GPT-2's table), character to byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def byte_level_bytes(tokens: Mapping[int, str], added: Mapping[int, str], silent: frozenset[int]) -> TokenBytes:
    """For byte-level BPE (SmolLM, Llama 3, Qwen, DeepSeek): `silent` ids, the special tokens, are no text."""
    alphabet = byte_alphabet()

    def token_bytes(token_id: int) -> bytes:
        if token_id in silent:
            return b""
        if token_id in added:
            return added[token_id].encode()
        return bytes(alphabet[character] for character in tokens.get(token_id, ""))

    return token_bytes


def byte_fallback_bytes(tokens: Mapping[int, str], added: Mapping[int, str], silent: frozenset[int]) -> TokenBytes:
    """For SentencePiece BPE with byte fallback (Llama 2, Mistral): ▁ is a space, <0x0A> is a byte."""

    def token_bytes(token_id: int) -> bytes:
        if token_id in silent:
            return b""
        if token_id in added:
            return added[token_id].encode()
        token = tokens.get(token_id, "")
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace("▁", " ").encode()

    return token_bytes


class Detokenizer:
    """Lets out a character when its last byte is there. Bytes that can never become one come out as U+FFFD.

    Its state is a function of the ids fed so far: feeding them again restores it.
    """

    def __init__(self, token_bytes: TokenBytes, *, strip_first_space: bool = False) -> None:
        self.token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip = strip_first_space

    def feed(self, token_id: int) -> str:
        text = self._decoder.decode(self.token_bytes(token_id))
        if self._strip and text:
            self._strip = False
            text = text.removeprefix(" ")
        return text

    @property
    def incomplete(self) -> bool:
        """The last token ends within a character."""
        return bool(self._decoder.getstate()[0])
