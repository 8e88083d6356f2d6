"""Each mode of quantization: memory, tokens a second, and what of the model's quality is left.

Every part of every mode is a process of its own with a limit of time. What it found is printed, and written to the JSON
file, as soon as it is there; what that file had before stays until it is measured again. Rounds of speed go through all
modes in turn. Speed is the engine's by itself, prompts in the time, as in `benchmarks.engine`: 1 caller asks 8
questions, 16 callers ask 64. The default model was quantized (Q4_1) before it was packaged, so that what four bits cost
is understated here; hence the small model beside it, which is taught here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.quantization.modes import BASE, MODES, PARTS, PLAIN
from benchmarks.report import arguments, machine, table, write

LIMIT_S = 180  # of one part of one mode

Rows = dict[str, dict[str, Any]]  # by mode, then by part


def main() -> int:
    options = _options()
    rows = _earlier(options.json)
    missed, until = 0, time.monotonic() + 60 * options.minutes
    for mode, part, turn in _work(options):
        if (began := time.monotonic()) > until:
            print(f"{mode}, {part}: left out, the time is over", file=sys.stderr, flush=True)
            missed += 1
            continue
        found = _measured(options, mode, part)
        row = rows.setdefault(mode, {})
        if part == "speed":
            row[part] = found if turn == 0 or not row.get(part) else _joined(row[part], found)
        else:
            row[part] = found
        missed += not found
        told = json.dumps(found) if found else f"nothing within {LIMIT_S} s, or it failed"
        print(f"{mode}, {part}: {told} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        write(options.json, {"prompts": options.prompts, "modes": rows})
    show({mode: rows[mode] for mode in MODES if mode in rows})
    return int(missed > 0)


def _options() -> Any:
    parser: argparse.ArgumentParser = arguments("quantization")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--only", nargs="*", choices=MODES, default=list(MODES), metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=2, help="of speed, of which the median is taken")
    parser.add_argument("--minutes", type=float, default=24, help="after which no other part begins")
    parser.add_argument("--prompts", type=int, default=32, help="of the fixed text, at most 64")
    return parser.parse_args()


def _work(options: Any) -> Iterator[tuple[str, str, int]]:
    """Mode, part and number of the round. The plain mode comes first: others' quality is held against it."""
    turns = [(part, 0) for part in options.parts]
    turns += [("speed", turn) for turn in range(1, options.rounds) if "speed" in options.parts]
    for part, turn in turns:
        for mode in options.only:
            if part != "saved" or any(setting.startswith("quantization") for setting in MODES[mode]):
                yield mode, part, turn


def _measured(options: Any, mode: str, part: str) -> dict[str, Any]:
    """Empty: it failed, or took too long."""
    command = [sys.executable, "-m", "benchmarks.quantization.measuring", part, mode]
    command += ["--home", str(options.home), "--prompts", str(options.prompts)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return {}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: [value] for name, value in found.items()} if part == "speed" else found


def _joined(earlier: dict[str, list[float]], found: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values + found.get(name, []) for name, values in earlier.items()}


def _earlier(path: Path | None) -> Rows:
    if path is None or not path.is_file():
        return {}
    rows: Rows = json.loads(path.read_text())["modes"]
    return rows


def show(rows: Rows) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()) + "\n")
    base, plain = rows.get(BASE, {}), rows.get(PLAIN, {}).get("quality", {})
    print(table(_MEMORY, [_memory(mode, row, base) for mode, row in rows.items()]) + "\n")
    print(table(_QUALITY, [_quality(mode, row, plain) for mode, row in rows.items()]))


_MEMORY = [
    "", "layers MiB", "×", "weights MiB", "×", "resident MiB", "opens in s", "saved in s", "×", "tokens/s, 1", "×",
    "16", "×",
]  # fmt: skip
_QUALITY = ["", "NLL", "%", "± %", "first choice", "cloze", "sums"]


def _memory(mode: str, row: dict[str, Any], base: dict[str, Any]) -> list[Any]:
    held, saved = row.get("memory", {}), row.get("saved", {})
    sooner = saved["quantizing_s"] / saved["saved_s"] if saved else "-"
    return [
        mode,
        *_beside(held, base.get("memory", {}), "layers_mib"),
        *_beside(held, base.get("memory", {}), "weights_mib"),
        held.get("resident_mib", "-"),
        held.get("opens_s", "-"),
        saved.get("saved_s", "-"),
        sooner,
        *_beside(_medians(row), _medians(base), "1"),
        *_beside(_medians(row), _medians(base), "16"),
    ]


def _quality(mode: str, row: dict[str, Any], plain: dict[str, Any]) -> list[Any]:
    found = row.get("quality", {})
    if not found:
        return [mode, *["-"] * 5, row.get("sums", {}).get("right", "-")]
    share = 100 / plain["nll"] if plain else 0.0
    worse = f"{found['worse'] * share:+.2f}" if "worse" in found and plain else "-"
    error = f"{found['error'] * share:.2f}" if "error" in found and plain else "-"
    right, asked = found["cloze"]
    said = [f"{found['nll']:.3f}", worse, error, found.get("agreement", "-"), f"{right}/{asked}"]
    return [mode, *said, row.get("sums", {}).get("right", "-")]


def _medians(row: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.median(rounds) for name, rounds in row.get("speed", {}).items()}


def _beside(row: dict[str, Any], base: dict[str, Any], name: str) -> list[Any]:
    return [row.get(name, "-"), row[name] / base[name] if name in row and name in base else "-"]


if __name__ == "__main__":
    sys.exit(main())
