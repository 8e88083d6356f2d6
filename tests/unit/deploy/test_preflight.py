"""preflight.sh looks at the stack that compose.yaml would start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCKER = """#!/bin/sh
case "$1" in image) echo s390x ;; version) echo amd64 ;; esac
"""


def test_what_install_wrote_into_the_settings_file_is_what_is_looked_at(tmp_path: Path) -> None:
    """Fails if only the environment is read: then the image `latest` of another time is judged."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/preflight.sh", tmp_path / "deploy")
    (tmp_path / ".env").write_text("STRONGROOM_IMAGE=strongroom:7.1\nSTRONGROOM_MODELS=./elsewhere\n")
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)

    def said(**more: str) -> str:
        environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), **more}
        done = subprocess.run(
            [tmp_path / "deploy/preflight.sh"], env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 78
        return done.stderr

    assert "strongroom:7.1 is for s390x, and this machine's processor is amd64" in said()
    assert "no model lies in ./elsewhere" in said()
    assert "strongroom:8.0 is for s390x" in said(STRONGROOM_IMAGE="strongroom:8.0")
