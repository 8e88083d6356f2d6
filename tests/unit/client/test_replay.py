"""`strongroom audit replay`: what people and programs are told."""

from __future__ import annotations

import pytest
from strongroom.cli.replay import _MEANINGS, line

from services.audit.replays.judging import Reason

FOUND = {"record_id": "r", "verdict": "EXACT", "reasons": [], "tokens": 12, "choice": None, "token": None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "EXACT: 12 tokens are the same  (record p)"),
        (
            {"verdict": "DIVERGED", "choice": 0, "token": 12},
            "DIVERGED at token 12: 12 tokens before it are the same  (record p)",
        ),
        (
            {"verdict": "DIVERGED", "choice": 1, "token": 2},
            "DIVERGED at token 2 of answer 1: 12 tokens before it are the same  (record p)",
        ),
        (
            {"verdict": "NOT_REPLAYABLE", "reasons": ["ERASED"], "replay_record_id": None},
            "NOT REPLAYABLE: ERASED (its subject was erased)",
        ),
        (
            {"verdict": "NOT_REPLAYABLE", "reasons": ["OTHER_WEIGHTS", "OTHER_DTYPE"], "replay_record_id": None},
            "NOT REPLAYABLE: OTHER_WEIGHTS, OTHER_DTYPE",
        ),
        (
            {"verdict": "NOT_REPLAYABLE", "reasons": ["NOT_DETERMINISTIC"], "choice": 0, "token": 3},
            "NOT REPLAYABLE: NOT_DETERMINISTIC (other tokens, but in this mode batch mates can change them); "
            "from token 3 on  (record p)",
        ),
    ],
)
def test_a_judgement_is_one_line(changes, said) -> None:
    assert line({**FOUND, "replay_record_id": "p", **changes}) == said


def test_every_reason_has_a_meaning() -> None:
    assert set(_MEANINGS) == set(Reason)
