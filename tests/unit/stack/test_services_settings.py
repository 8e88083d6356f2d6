"""Every wrong setting of every service is named before anything starts."""

from __future__ import annotations

import pytest

from chassis.settings import InvalidSettings
from stack.options import stack_options


def problems(tmp_path, **variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as wrong:
        stack_options({"home": str(tmp_path)}, variables)
    return str(wrong.value).splitlines()


def test_wrong_settings_of_several_services_are_named_together(tmp_path):
    said = problems(tmp_path, STRONGROOM_GATEWAY_MAX_IN_FLIGHT="many", STRONGROOM_INFERENCE_SLOTS="0")
    assert len(said) == 2 and "MAX_IN_FLIGHT" in said[0] and "SLOTS" in said[1]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("STRONGROOM_REDIS_ULR", "STRONGROOM_REDIS_URL"),
        ("STRONGROOM_GAURD_POLICY_FILE", "STRONGROOM_GUARD_POLICY_FILE"),
    ],
)
def test_invariant_7_a_misspelt_setting_does_not_silently_mean_the_default(tmp_path, misspelt, meant):
    """Fails if `check_services` looks only at the names that services know."""
    (said,) = problems(tmp_path, **{misspelt: "x"})
    assert said == f"{misspelt}: no such setting; did you mean {meant}?"


def test_what_the_command_line_reads_is_no_mistake(tmp_path):
    stack_options({"home": str(tmp_path)}, {"STRONGROOM_API_KEY": "k", "STRONGROOM_ADDRESS": "127.0.0.1:7400"})
