"""What redaction costs by itself: texts dense with personal data, an answer in pieces, any length, beside Presidio."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from benchmarks.redaction.sentences import corpus
from benchmarks.redaction.systems import DRIVER, PEERS
from benchmarks.report import table
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.redactor import redact

SHORT, LONG = 400, 2_000  # characters
ANSWER, PIECES = 256, 10
LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
CALLS, ANSWERS = 60, 200
SEED = 7400


def mixed(length: int) -> str:
    """Sentences with personal data, with what only looks like it, and with neither."""
    rows, chance = corpus(400, seed=SEED).rows, random.Random(SEED)
    chance.shuffle(rows)
    text = "。".join(row.text for row in rows)
    return (text * (length // len(text) + 1))[:length]


def median_ms(work: Callable[[], object], calls: int = CALLS) -> float:
    """Of CPU, as others on the machine take wall time."""
    spent = []
    for _ in range(calls):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1e3)
    return statistics.median(spent)


def measure(bundle: PolicyBundle) -> dict[str, Any]:
    text = mixed(LONG)
    ours = median_ms(lambda: redact(bundle.maskings, text))
    answers = [mixed(ANSWERS * ANSWER)[at * ANSWER : (at + 1) * ANSWER] for at in range(ANSWERS)]
    found: dict[str, Any] = {
        f"p50 ms, {SHORT} characters": median_ms(lambda: redact(bundle.maskings, text[:SHORT])),
        f"p50 ms, {LONG} characters": ours,
        f"filter: p50 ms of an answer of {ANSWER} in {PIECES} pieces": statistics.median(
            median_ms(lambda answer=answer: _filtered(bundle, answer), 3)  # type: ignore[misc]
            for answer in answers
        ),
        "filter: median characters withheld": statistics.median(
            held for answer in answers for held in _filtered(bundle, answer)
        ),
    }
    peer = _presidio_ms(text)
    if peer is not None:
        found |= {"Presidio ms, the same text": peer, "times Presidio's throughput": peer / ours}
    return found | {f"µs a character, {length:,}": _per_character(bundle, mixed(length)) for length in LENGTHS}


def _per_character(bundle: PolicyBundle, text: str) -> float:
    return median_ms(lambda: redact(bundle.maskings, text), 1) * 1e3 / len(text)


def _filtered(bundle: PolicyBundle, answer: str) -> list[int]:
    """The characters held back after each piece."""
    output_filter, given, taken = OutputFilter(bundle), 0, 0
    held = []
    size = -(-len(answer) // PIECES)
    for at in range(0, len(answer), size):
        filtered = output_filter.feed(answer[at : at + size])
        given += len(filtered.released) + sum(f.end - f.start - len("[REDACTED]") for f in filtered.findings)
        taken += len(answer[at : at + size])
        held.append(taken - given)
    output_filter.finish()
    return held


def _presidio_ms(text: str) -> float | None:
    """CPU of its recognizers for the same classes as far as it has them; None where it is not installed."""
    if not PEERS.exists():
        return None
    lines = (json.dumps({"text": text}) + "\n") * 10
    done = subprocess.run([str(PEERS), str(DRIVER)], input=lines, capture_output=True, encoding="utf-8", timeout=300)
    return float(done.stderr.strip().splitlines()[-1]) * 1e3 / 10 if done.returncode == 0 else None


def shown(found: dict[str, Any]) -> str:
    return table(
        ["redaction, mixed Chinese and English", ""], [[name, f"{value:.3f}"] for name, value in found.items()]
    )
