"""docs/engines.md says of each engine what it declares, and what this suite has shown."""

from __future__ import annotations

import os

import pytest

from services.inference.engine.features import FEATURES
from services.inference.engine.protocol import Engine
from services.inference.engine.seat import CANDIDATES
from tests.conformance.matrix import BEGIN, DOCUMENT, END, FAILED, NO, PROMISES, ROWS, YES, Results, read, written


def test_the_document_has_a_row_for_each_feature_and_a_column_for_each_engine() -> None:
    matrix = read(DOCUMENT.read_text())
    assert list(matrix) == list(CANDIDATES)
    for rows in matrix.values():
        assert list(rows) == list(ROWS)


@pytest.mark.skipif(os.environ.get("STRONGROOM_CONFORMANCE") == "write", reason="this run writes the table")
def test_an_engines_column_is_what_it_declares(engine: Engine) -> None:
    column = read(DOCUMENT.read_text())[engine.name]
    declared = {feature.name: NO if feature.name in engine.model.lacks else YES for feature in FEATURES}
    assert column == dict.fromkeys(PROMISES, YES) | declared, "make conformance writes the table anew"


def test_the_columns_of_engines_that_did_not_run_stay() -> None:
    results = Results()
    results.note("one", ["seed"], "passed")
    results.note("one", ["stop"], "skipped")
    results.note("one", ["cancel"], "passed")
    results.note("one", ["cancel"], "failed")
    before = written(f"above {BEGIN}{END} below", results.matrix())
    later = Results()
    later.note("two", ["seed"], "passed")
    after = written(before, later.matrix())
    assert after.startswith("above ") and after.endswith(" below")
    assert {name: cell for name, cell in read(after)["one"].items() if cell != "?"} == {
        "seed": YES, "stop": NO, "cancel": FAILED,
    }  # fmt: skip
    assert read(after)["two"]["seed"] == YES
