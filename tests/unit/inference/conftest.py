"""The default model, converted once for every inference test that wants it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the default model; STRONGROOM_TEST_MODELS keeps it between runs."""
    from services.inference.models.convert import converted

    kept = os.environ.get("STRONGROOM_TEST_MODELS")
    home = Path(kept) if kept else tmp_path_factory.mktemp("home")
    converted(home)
    return home
