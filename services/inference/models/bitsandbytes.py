"""bitsandbytes, imported so that it asks no hub for anything."""

from __future__ import annotations

import importlib
import logging
import sys
from functools import cache
from typing import Any


@cache
def library() -> Any:
    """bitsandbytes' functions. Raises ImportError.

    Where the package `kernels` is there too, importing it would ask a hub for another product: here nothing is.
    """
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # an import of it fails, which bitsandbytes gets over
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # it warns of just that
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # of a cast, at every product
    try:
        return importlib.import_module("bitsandbytes.functional")
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before
