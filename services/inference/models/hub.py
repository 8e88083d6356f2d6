"""Whether the model hub may be asked: settled before the libraries are imported that would ask it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Read once, when huggingface_hub is imported; with them it refuses every request itself, telemetry included.
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_FALSE = {"", "0", "false", "no", "off"}


def settle_hub(allowed: bool, environ: MutableMapping[str, str] = os.environ) -> None:
    """Nothing is fetched unless a setting says so; a machine that forbids it wins over the setting, and is named."""
    if not allowed:
        environ.update(dict.fromkeys(_OFFLINE, "1"))
        return
    for name in _OFFLINE:
        if environ.get(name, "").lower() not in _FALSE:
            raise ValueError(
                f"hub is allowed by STRONGROOM_INFERENCE_HUB, and {name}={environ[name]} forbids it: unset one of them"
            )
