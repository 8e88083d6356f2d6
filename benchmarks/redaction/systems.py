"""What is judged: each takes texts and gives, for each, the places it would mask."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.redaction.rows import Place
from services.guard.policy.loading import load_bundle
from services.guard.redaction.redactor import Redaction, redact, redact_prompt
from services.guard.settings import SHIPPED_POLICY

Masks = Callable[[Sequence[str]], list[list[Place]]]

PEERS = Path(__file__).parents[2] / ".cache" / "redaction-peers" / "bin" / "python"  # `make redaction-peers`
DRIVER = Path(__file__).with_name("presidio_driver.py")

# What a first attempt would be: a mobile number, a card, an address.
FLOOR = (
    ("MOBILE_NUMBER", re.compile(r"\b1[3-9]\d{9}\b")),
    ("BANK_CARD", re.compile(r"\b\d{13,19}\b")),
    ("EMAIL_ADDRESS", re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b")),
)


ANSWERS = "strongroom, answers"  # where names and addresses are decided left to right


def strongroom(policy: Path = SHIPPED_POLICY, redacted: Callable[..., Redaction] = redact_prompt) -> Masks:
    maskings = load_bundle(policy).maskings

    def masks(texts: Sequence[str]) -> list[list[Place]]:
        return [[Place(f.entity, f.start, f.end) for f in redacted(maskings, text).findings] for text in texts]

    return masks


def ours() -> dict[str, Masks]:
    """As a prompt is read, and as an answer is."""
    return {"strongroom": strongroom(), ANSWERS: strongroom(redacted=redact)}


def three_patterns(texts: Sequence[str]) -> list[list[Place]]:
    return [
        [Place(label, *match.span()) for label, pattern in FLOOR for match in pattern.finditer(text)] for text in texts
    ]


def presidio(texts: Sequence[str]) -> list[list[Place]]:
    """In an environment of its own, which has nothing of ours."""
    asked = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    done = subprocess.run(
        [str(PEERS), str(DRIVER)], input=asked, capture_output=True, encoding="utf-8", check=True, timeout=900
    )
    return [[Place(*place) for place in json.loads(line)] for line in done.stdout.splitlines()]


def contenders() -> dict[str, Masks]:
    """Presidio only where it is installed."""
    found: dict[str, Masks] = {**ours(), "three patterns": three_patterns}
    return {**found, "presidio": presidio} if PEERS.exists() else found
