"""The suite's model in a folder that names no end-of-sequence token: whoever opens it answers up to the limit.

That is how the end is ignored in the same way for all: weights, tokenizer and template are the default model's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from services.inference.models.convert import converted
from services.inference.models.wheel import NAME

ENDLESS = f"{NAME}-endless"
_END = ("eos_token", "eos_token_id")


def endless(home: Path) -> Path:
    """The folder under `home`, made anew: its weights are links to the converted model's."""
    source = converted(home)
    target = home.resolve() / "models" / ENDLESS
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.resolve().iterdir():
        if file.suffix == ".json" and file.name.endswith("config.json"):
            (target / file.name).write_text(json.dumps(_without_end(json.loads(file.read_text())), indent=2) + "\n")
        else:
            (target / file.name).symlink_to(file)
    return target


def _without_end(config: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in config.items() if name not in _END}
