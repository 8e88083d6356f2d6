"""What fuzzing kept: each text masks the same in one piece, cut where its first byte says, and at every character."""

from collections.abc import Mapping
from pathlib import Path

from services.guard.redaction.masking import Masking
from services.guard.redaction.redactor import Redactor, redact

CORPUS = sorted((Path(__file__).parent / "fuzz_corpus").iterdir())


def in_pieces(maskings: Mapping[str, Masking], text: str, size: int) -> str:
    redactor, out = Redactor(maskings), ""
    for at in range(0, len(text), size):
        redactor.push(text[at : at + size])
        out += redactor.emit(redactor.received).text
    redactor.end()
    return out + redactor.emit(len(text)).text


def test_every_text_that_fuzzing_kept_masks_the_same_in_any_pieces(maskings: Mapping[str, Masking]) -> None:
    """Fails if an escape or an invisible character at a cut is read differently."""
    assert len(CORPUS) > 50
    for path in CORPUS:
        data = path.read_bytes()
        text = data[1:].decode("utf-8", "surrogateescape")
        whole = redact(maskings, text).text
        for size in (max(1, data[0] * len(text) // 255), 1):
            assert in_pieces(maskings, text, size) == whole, path.name
