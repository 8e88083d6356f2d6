"""`strongroom receipt --checkpoints`: what the log signed is kept between two calls, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from strongroom.cli.main import main


def test_two_logs_of_one_size_under_one_key_end_with_3(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["receipt", "r-1", "--checkpoints", str(tmp_path / "kept")]
    assert main(["ask", "Is the vault closed?"]) == 0
    assert main(command) == main(command) == 0
    [kept] = (tmp_path / "kept").iterdir()
    before = kept.read_text()
    stack.text = ("The vault ", "is open.")
    capsys.readouterr()
    assert main(command) == 3
    assert "two different logs of 1 entries" in capsys.readouterr().err
    assert kept.read_text() == before
    assert main(["receipt", "r-1"]) == 0
