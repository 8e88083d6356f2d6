"""`strongroom models plan`: which engine, mode and batch fit this machine or a described one, and the arithmetic."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from strongroom.cli.ending import OK, Complaint
from strongroom.cli.terminal import Paint, visible

from services.inference import quantize_command
from services.inference.planning.architecture import ConfigUnreadable, read
from services.inference.planning.devices import Gpu, UnknownDevice, find, known
from services.inference.planning.fitting import Asked, Machine
from services.inference.planning.plan import Plan, make_plan
from services.inference.planning.telling import as_json, lines

CANNOT_START = 1
_MOST_GPUS = 1024


def register(commands: Any) -> None:
    parser = commands.add_parser("models", help="what fits a machine, and models in fewer bits", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    quantize_command.register(actions)
    plan = actions.add_parser("plan", help="what of a model fits, and why", description=__doc__)
    shipped = ", ".join(sorted(shipped_configs()))
    plan.add_argument("model", metavar="MODEL", help=f"a folder or config.json, a name under HOME/models, or {shipped}")
    plan.add_argument("--gpu", metavar="NAME", help="such a GPU instead of this machine: as h100, or a100-80gb")
    plan.add_argument("--gpus", type=int, default=1, metavar="N", help="how many (1)")
    plan.add_argument("--gpus-per-machine", type=int, default=8, metavar="N", help="of them in one machine (8)")
    plan.add_argument("--gpu-memory", type=float, metavar="GIB", help="of one that is not in the table")
    plan.add_argument(
        "--gpu-bandwidth", type=float, default=0.0, metavar="GB/S", help="with --gpu-memory: for the speed"
    )
    plan.add_argument("--gpu-tflops", type=float, default=0.0, metavar="T", help="with --gpu-memory: in bf16, dense")
    plan.add_argument("--context", type=int, default=Asked().context, metavar="TOKENS", help="0: all it knows (2048)")
    plan.add_argument("--slots", type=int, default=Asked().slots, metavar="N", help="requests at once (16)")
    plan.add_argument("--share", type=float, default=Asked().share, metavar="S", help="KV_MEMORY_SHARE (0.5)")
    plan.add_argument("--home", metavar="DIR", help="whose models (STRONGROOM_HOME, else .strongroom)")
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    plan.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """1 where this version can start nothing of it there."""
    _check(arguments)
    home = Path(arguments.home or os.environ.get("STRONGROOM_HOME") or ".strongroom")
    name, config = find_config(arguments.model, home)
    asked = Asked(context=arguments.context, slots=arguments.slots, share=arguments.share)
    try:
        model = read(config)
        plan = make_plan(name, model, _machine(arguments), asked, known())
    except ConfigUnreadable as wrong:
        raise Complaint(f"no plan for {name}: {wrong}") from None
    except UnknownDevice as wrong:
        raise Complaint(str(wrong)) from None
    _print(plan, arguments.json)
    return OK if plan.best else CANNOT_START


def _print(plan: Plan, as_object: bool) -> None:
    if as_object:
        print(json.dumps(as_json(plan), ensure_ascii=False, indent=2))
        return
    paint = Paint.of(sys.stdout)
    for text, style in lines(plan):
        print(paint(visible(text), style) if style else visible(text))


def _check(arguments: argparse.Namespace) -> None:
    for name, ok, bound in (
        ("gpus", 1 <= arguments.gpus <= _MOST_GPUS, f"1 to {_MOST_GPUS}"),
        ("gpus-per-machine", 1 <= arguments.gpus_per_machine <= _MOST_GPUS, f"1 to {_MOST_GPUS}"),
        ("gpu-memory", arguments.gpu_memory is None or 0 < arguments.gpu_memory <= 10_000, "above 0, at most 10000"),
        ("gpu-bandwidth", 0 <= arguments.gpu_bandwidth <= 1e6, "0 to 1000000"),
        ("gpu-tflops", 0 <= arguments.gpu_tflops <= 1e6, "0 to 1000000"),
        ("context", 0 <= arguments.context <= 2**30, "0 (all that the model knows) or more"),
        ("slots", 1 <= arguments.slots <= 1024, "1 to 1024"),
        ("share", 0 < arguments.share <= 0.95, "above 0, at most 0.95"),
    ):
        if not ok:
            raise Complaint(f"--{name} must be {bound}")
    if arguments.gpu and arguments.gpu_memory is not None:
        raise Complaint("--gpu and --gpu-memory describe one GPU each: leave one out")


def find_config(model: str, home: Path) -> tuple[str, dict[str, Any]]:
    """Local places first, as a worker looks for models; then those that are shipped with the suite."""
    for place in (home / "models" / model / "config.json", Path(model) / "config.json", Path(model)):
        if place.is_file():
            return (place.parent.name if place.name == "config.json" else place.stem), _parsed(place.read_text)
    text = shipped_configs().get(model.rpartition("/")[2].lower())
    if text is None:
        raise Complaint(
            f"model {model[:80]!r} is neither under {home}/models nor a folder with config.json, and not shipped "
            f"({', '.join(sorted(shipped_configs()))}): put its config.json there, it is all that a plan needs"
        )
    return model, _parsed(text.read_text)


def _parsed(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Complaint("config.json must be one JSON object: copy it again")
    return found


def shipped_configs() -> dict[str, Any]:
    folder = files("services.inference.planning").joinpath("configs")
    return {one.name.removesuffix(".json"): one for one in folder.iterdir() if one.name.endswith(".json")}


def _machine(arguments: argparse.Namespace) -> Machine:
    if arguments.gpu is None and arguments.gpu_memory is None:
        from services.inference.planning.torch_machine import this_machine  # only where it is measured

        return this_machine()
    gpu = find(arguments.gpu) if arguments.gpu else _described(arguments)
    return Machine(
        name=gpu.name,
        kind="cuda",
        memory=gpu.memory,
        count=arguments.gpus,
        together=min(arguments.gpus, arguments.gpus_per_machine),
        bandwidth=gpu.bandwidth,
        rates=gpu.rates,
        source=gpu.source,
    )


def _described(arguments: argparse.Namespace) -> Gpu:
    return Gpu(
        name="GPU",
        memory=int(arguments.gpu_memory * (1 << 30)),
        bandwidth=arguments.gpu_bandwidth * 1e9,
        rates={"bf16": arguments.gpu_tflops * 1e12} if arguments.gpu_tflops else {},
    )
