"""Coverage-guided fuzzing of normaliser, recognizers and redactor: any text, in any two pieces, masks the same.

`make soak-redaction`; runs in an environment of its own, which has atheris and, of ours, what looks for many words and
patterns at once. What it finds interesting goes into the corpus that the tests replay.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["services.guard.redaction"]):
    from services.guard.redaction.classes import CLASSES
    from services.guard.redaction.masking import Masking
    from services.guard.redaction.redactor import Redactor, redact

MASKINGS = {one.entity: Masking(one.entity, "partial", one.label, one.level) for one in CLASSES}


def check(data: bytes) -> None:
    """The first byte says where the text is cut; surrogates come through."""
    text = data[1:].decode("utf-8", "surrogateescape")
    cut = data[0] * len(text) // 255 if data else 0
    whole = redact(MASKINGS, text)
    redactor, out = Redactor(MASKINGS), ""
    for piece in (text[:cut], text[cut:]):
        redactor.push(piece)
        out += redactor.emit(redactor.received).text
    redactor.end()
    assert out + redactor.emit(len(text)).text == whole.text, "another cut gives other bytes"
    assert all(0 <= f.start < f.end <= len(text) for f in whole.findings)
    assert whole.findings or whole.text == text


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
