"""`strongroom models quantize`: a model in fewer bits, saved so that later starts are quick."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from strongroom.cli.ending import OK, Complaint

from services.inference.engine.opening import EngineSettings
from services.inference.engine.quantization import MODES
from services.inference.models.wheel import ModelUnavailable


def register(actions: Any) -> None:
    names = [mode.name for mode in MODES]
    parser = actions.add_parser("quantize", help="save a model in fewer bits", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="a name under HOME/models, or a folder")
    parser.add_argument("mode", metavar="MODE", choices=names, help=", ".join(names))
    parser.add_argument("--dtype", default="auto", help="in which it computes (what the mode takes first)")
    parser.add_argument("--to", metavar="NAME", help="under HOME/models (MODEL-MODE)")
    parser.add_argument("--home", metavar="DIR", help="whose models (STRONGROOM_HOME, else .strongroom)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    home = Path(arguments.home or os.environ.get("STRONGROOM_HOME") or ".strongroom")
    target = arguments.to or f"{Path(arguments.model).name}-{arguments.mode}"
    if target != Path(target).name or target.startswith("."):
        raise Complaint("--to must be a plain name: it is one under HOME/models")
    from services.inference.engine.torch_saving import save_quantized  # torch, only where it is needed

    settings = EngineSettings(model=arguments.model, dtype=arguments.dtype, quantization=arguments.mode)
    try:
        save_quantized(settings, home, target, lambda line: print(line, file=sys.stderr, flush=True))
    except (ModelUnavailable, ValueError) as problem:
        raise Complaint(str(problem)) from None
    print(f"STRONGROOM_MODEL={target}")
    return OK
