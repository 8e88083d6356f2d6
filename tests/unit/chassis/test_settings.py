"""Settings: every wrong variable named at once, nothing ignored silently."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.settings import InvalidSettings, StackSettings, load, variables


@dataclass(frozen=True, kw_only=True)
class VaultSettings(StackSettings):
    folder: Path
    shelves: int = 4
    ratio: float = 0.5
    open_late: bool = False

    def check(self) -> list[str]:
        return [] if self.shelves > 0 else [f"STRONGROOM_VAULT_SHELVES: {self.shelves} is not above 0"]


GOOD = {"STRONGROOM_VAULT_FOLDER": "/vault"}


def problems(environ):
    with pytest.raises(InvalidSettings) as refusal:
        load(VaultSettings, "vault", environ)
    return str(refusal.value).splitlines()


def test_defaults_hold_where_nothing_is_set():
    settings = load(VaultSettings, "vault", GOOD)
    assert (settings.folder, settings.shelves, settings.ratio, settings.open_late) == (Path("/vault"), 4, 0.5, False)
    assert (settings.mode, settings.bind, settings.port_base) == ("development", "127.0.0.1", 7400)
    assert settings.keys_folder == Path(".strongroom/keys")


def test_each_kind_of_value_is_read():
    environ = {
        **GOOD,
        "STRONGROOM_VAULT_SHELVES": "9",
        "STRONGROOM_VAULT_RATIO": "0.25",
        "STRONGROOM_VAULT_OPEN_LATE": "True",
        "STRONGROOM_KEYS": "/elsewhere",
        "STRONGROOM_PORT_BASE": "7500",
    }
    settings = load(VaultSettings, "vault", environ)
    assert (settings.shelves, settings.ratio, settings.open_late) == (9, 0.25, True)
    assert settings.keys_folder == Path("/elsewhere")
    assert settings.address("audit") == "127.0.0.1:7503"
    assert settings.http_address("audit") == "127.0.0.1:7513"
    assert settings.redis == "redis://127.0.0.1:7509/0"


def test_every_wrong_variable_is_named_at_once():
    named = problems(
        {
            "STRONGROOM_VAULT_SHELVES": "many",
            "STRONGROOM_VAULT_RATIO": "nan",
            "STRONGROOM_VAULT_OPEN_LATE": "perhaps",
            "STRONGROOM_VAULT_SHELFS": "3",
            "STRONGROOM_MODE": "demo",
            "STRONGROOM_PORT_BASE": "80",
            "STRONGROOM_BIND": "0.0.0.0",
            "STRONGROOM_HOME": "",
        }
    )
    assert {line.partition(":")[0] for line in named} == {
        "STRONGROOM_VAULT_FOLDER",  # required
        "STRONGROOM_VAULT_SHELVES",
        "STRONGROOM_VAULT_RATIO",
        "STRONGROOM_VAULT_OPEN_LATE",
        "STRONGROOM_VAULT_SHELFS",  # unknown
        "STRONGROOM_MODE",
        "STRONGROOM_PORT_BASE",
        "STRONGROOM_BIND",
        "STRONGROOM_HOME",
    }
    assert "STRONGROOM_VAULT_FOLDER: is required, and not set" in named
    assert "STRONGROOM_VAULT_SHELFS: no such setting" in named
    assert "STRONGROOM_VAULT_SHELVES: 'many' is not a whole number" in named


def test_a_services_own_check_is_reported_with_the_rest():
    named = problems({**GOOD, "STRONGROOM_VAULT_SHELVES": "0", "STRONGROOM_VAULT_RATIO": "x", "STRONGROOM_MODE": "x"})
    assert len(named) == 3
    assert "STRONGROOM_VAULT_SHELVES: 0 is not above 0" in named


def test_a_bug_in_a_check_is_not_taken_for_a_missing_setting():
    @dataclass(frozen=True, kw_only=True)
    class Broken(StackSettings):
        def check(self) -> list[str]:
            raise TypeError

    with pytest.raises(TypeError):
        load(Broken, "broken", {})


def test_production_is_refused_until_its_parts_exist():
    [line] = problems({**GOOD, "STRONGROOM_MODE": "production"})
    assert line.startswith("STRONGROOM_MODE: production needs")


@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_leave(bind):
    assert load(VaultSettings, "vault", {**GOOD, "STRONGROOM_BIND": bind}).bind == bind


def test_another_address_needs_leave_and_says_how():
    [line] = problems({**GOOD, "STRONGROOM_BIND": "10.0.0.7"})
    assert "STRONGROOM_INSECURE=true" in line
    environ = {**GOOD, "STRONGROOM_BIND": "10.0.0.7", "STRONGROOM_INSECURE": "1"}
    assert load(VaultSettings, "vault", environ).address("guard") == "10.0.0.7:7401"


def test_an_address_of_ipv6_is_bracketed():
    settings = load(VaultSettings, "vault", {**GOOD, "STRONGROOM_BIND": "::1"})
    assert (settings.address("guard"), settings.http_address("guard")) == ("[::1]:7401", "[::1]:7411")


def test_traces_go_to_the_monitor_unless_said_otherwise():
    def traces(value):
        return load(VaultSettings, "vault", {**GOOD, "STRONGROOM_TRACES_ADDRESS": value}).traces

    assert load(VaultSettings, "vault", GOOD).traces == "127.0.0.1:7404"
    assert (traces("collector:4317"), traces("off")) == ("collector:4317", "")


def test_variables_of_other_services_are_none_of_ours():
    load(VaultSettings, "vault", {**GOOD, "STRONGROOM_GUARD_NONSENSE": "1", "STRONGROOM_API_KEY": "k"})
    assert "STRONGROOM_VAULT_SHELVES" in variables(VaultSettings, "vault")
    assert "STRONGROOM_PORT_BASE" in variables(VaultSettings, "vault")


TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(environ=st.dictionaries(st.sampled_from(variables(VaultSettings, "vault")), TEXT))
def test_whatever_the_environment_says_it_is_settings_or_a_named_variable(environ):
    try:
        load(VaultSettings, "vault", environ)
    except InvalidSettings as refusal:
        assert all(line.startswith("STRONGROOM_") for line in str(refusal).splitlines() if line)
