"""Imported before what it is about: this process takes the compiled core as services do (STRONGROOM_COMPILED)."""

from __future__ import annotations

from chassis import compiled
from services import COMPILED, ROOT

compiled.use(COMPILED, ROOT)
CORE = compiled.said
