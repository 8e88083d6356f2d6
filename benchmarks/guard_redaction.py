"""What redaction costs by itself: texts dense with personal data, an answer in pieces, any length, beside Presidio."""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.redaction.sentences import corpus
from benchmarks.redaction.systems import DRIVER, PEERS
from benchmarks.report import table
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.numbers import Numbers
from services.guard.redaction.recognizers import NUMBERS, RECOGNIZERS
from services.guard.redaction.redactor import redact
from services.guard.redaction.table import Table

SHORT, LONG = 400, 2_000  # characters
ANSWER, PIECES = 256, 10
LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
TEXTS, ANSWERS = 40, 200  # each another one: what is kept of words met before helps no more than it does in service
SEED = 7400

# What Presidio's recognizers in `presidio_driver` look for, too.
SHARED = frozenset(
    (
        *("MOBILE_NUMBER", "LANDLINE_NUMBER", "PHONE_NUMBER", "EMAIL_ADDRESS", "BANK_CARD", "IBAN", "IP_ADDRESS"),
        *("MAC_ADDRESS", "US_SSN", "PASSPORT_NUMBER", "CRYPTO_WALLET"),
    )
)


def mixed(length: int) -> str:
    """Sentences with personal data, with what only looks like it, and with neither."""
    return joined((row.text for row in corpus(1_500, seed=SEED).rows), "。", length)


def joined(sentences: Iterable[str], between: str, length: int) -> str:
    """In an order of their own, and again from the first one where they are not enough."""
    shuffled, chance = list(sentences), random.Random(SEED)
    chance.shuffle(shuffled)
    text = between.join(shuffled)
    return (text * (length // len(text) + 1))[:length]


def texts(data: Path | None) -> dict[str, str]:
    """Each long enough for all that is measured. `data`: the folder of the guard data."""
    length = max(TEXTS * LONG, ANSWERS * ANSWER)
    found = {"invented, both languages": mixed(length)}
    if data is not None:
        found["labelled sentences"] = joined(_rows(data / "pii" / "train.jsonl"), "。", length)
        found["banking questions"] = joined(_rows(data / "train" / "banking77.jsonl"), " ", length)
    return found


def _rows(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def _slices(text: str, size: int, most: int) -> list[str]:
    return [text[at * size : (at + 1) * size] for at in range(min(most, len(text) // size))]


def spent_ms(work: Callable[[str], object], given: Sequence[str]) -> list[float]:
    """Of CPU for each, as others on the machine take wall time."""
    for text in given[:3]:
        work(text)
    spent = []
    for text in given:
        began = time.process_time()
        work(text)
        spent.append((time.process_time() - began) * 1e3)
    return spent


def measure(bundle: PolicyBundle, data: Path | None = None) -> dict[str, Any]:
    _collect_seldom()
    found = {kind: _measured(bundle, text) for kind, text in texts(data).items()}
    by_length = {f"{length:,}": _per_character(bundle, mixed(length)) for length in LENGTHS}
    return {"texts": found, "us_per_character": by_length}


def _collect_seldom() -> None:
    """As a service does once it has started (chassis/start.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _measured(bundle: PolicyBundle, text: str) -> dict[str, float]:
    long, answers = _slices(text, LONG, TEXTS), _slices(text, ANSWER, ANSWERS)
    ours = spent_ms(lambda one: redact(bundle.maskings, one), long)
    found = {
        f"p50 ms, {SHORT} characters": statistics.median(
            spent_ms(lambda one: redact(bundle.maskings, one), _slices(text, SHORT, TEXTS))
        ),
        f"p50 ms, {LONG} characters": statistics.median(ours),
        f"filter: p50 ms, {ANSWER} characters in {PIECES} pieces": statistics.median(
            spent_ms(lambda answer: _filtered(bundle, answer), answers)
        ),
        "filter: median characters withheld": statistics.median(
            held for answer in answers for held in _filtered(bundle, answer)
        ),
    }
    peer = _presidio_ms(long)
    if peer is not None:
        shared, maskings = _shared(), {entity: bundle.maskings[entity] for entity in SHARED}
        same = statistics.mean(spent_ms(lambda one: redact(maskings, one, shared), long))
        found |= {
            f"Presidio, mean ms, {LONG} characters": peer,
            "times its throughput, its classes alone": peer / same,
            "times its throughput, all classes": peer / statistics.mean(ours),
        }
    return found


def _shared() -> Table:
    """The recognizers of Presidio's classes alone."""
    numbers = Numbers([shape for shape in NUMBERS if shape.entity in SHARED])
    shapes = [one for one in RECOGNIZERS if getattr(one, "entity", "") in SHARED]
    return Table([*shapes, numbers])


def _per_character(bundle: PolicyBundle, text: str) -> float:
    began = time.process_time()
    redact(bundle.maskings, text)
    return (time.process_time() - began) * 1e6 / len(text)


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


def _presidio_ms(given: Sequence[str]) -> float | None:
    """Mean CPU of its recognizers for a text; None where it is not installed."""
    if not PEERS.exists():
        return None
    lines = "".join(json.dumps({"text": text}) + "\n" for text in given)
    done = subprocess.run([str(PEERS), str(DRIVER)], input=lines, capture_output=True, encoding="utf-8", timeout=300)
    return float(done.stderr.strip().splitlines()[-1]) * 1e3 / len(given) if done.returncode == 0 else None


def shown(found: dict[str, Any]) -> str:
    kinds = found["texts"]
    rows = [
        [name, *(f"{figures[name]:.3f}" if name in figures else "" for figures in kinds.values())]
        for name in next(iter(kinds.values()))
    ]
    slowest = max(found["us_per_character"].values())
    lengths = [
        [length, f"{cost:.2f}", "#" * round(40 * cost / slowest)] for length, cost in found["us_per_character"].items()
    ]
    return table(["redaction", *kinds], rows) + "\n\n" + table(["characters", "µs each", ""], lengths)
