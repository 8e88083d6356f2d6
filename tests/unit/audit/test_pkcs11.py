"""The provider over PKCS#11, with SoftHSM as its token."""

from __future__ import annotations

import pytest
from strongroom.verify import VERIFIES, verify_home

from chassis.settings import InvalidSettings
from services.audit.sealing.file_provider import PROVIDER
from services.audit.sealing.provider import KeyUnusable
from services.audit.settings import AuditSettings


def provider_of(token, new: bool = False):
    return AuditSettings(**token).key_source(new)


def test_what_it_wraps_opens_for_the_same_purpose_alone_and_in_a_new_session(token) -> None:
    provider = provider_of(token, new=True)
    [key_id] = provider.held()
    wrapped = provider.wrap(key_id, bytes(32), "tenant/a/1")
    assert bytes(32) not in wrapped
    again = provider_of(token)
    assert again.held() == [key_id] and again.unwrap(key_id, wrapped, "tenant/a/1") == bytes(32)
    altered = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
    for data, purpose in ((wrapped, "tenant/b/1"), (altered, "tenant/a/1"), (b"", "tenant/a/1")):
        with pytest.raises(KeyUnusable):
            again.unwrap(key_id, data, purpose)


def test_its_keys_do_not_leave_the_token(token) -> None:
    """Fails if a key is made extractable."""
    import pkcs11
    from pkcs11 import Attribute

    provider = provider_of(token, new=True)
    [key] = provider._keys.values()
    assert (key[Attribute.EXTRACTABLE], key[Attribute.SENSITIVE]) == (False, True)
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.VALUE]


def test_a_session_that_was_lost_is_opened_again(token) -> None:
    provider = provider_of(token, new=True)
    [key_id] = provider.held()
    wrapped = provider.wrap(key_id, bytes(32), "p")
    provider._session.close()
    assert provider.unwrap(key_id, wrapped, "p") == bytes(32)


def test_what_is_wrong_with_a_token_is_said(token, tmp_path) -> None:
    with pytest.raises(KeyUnusable, match="NoSuchToken"):
        provider_of({**token, "hsm_token": "another"})
    (tmp_path / "pin").write_text("0000")
    with pytest.raises(KeyUnusable, match="PinIncorrect"):
        provider_of(token)
    (tmp_path / "pin").chmod(0o644)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        provider_of(token)


def test_a_new_log_takes_no_other_logs_keys(token) -> None:
    provider_of(token, new=True)
    with pytest.raises(KeyUnusable, match="label of its own"):
        provider_of(token, new=True)
    assert provider_of({**token, "hsm_label": "another log"}, new=True).held()


@pytest.mark.parametrize("missing", ["hsm_module", "hsm_token", "hsm_pin_file"])
def test_settings_that_are_missing_are_named(token, missing) -> None:
    with pytest.raises(InvalidSettings, match=f"STRONGROOM_AUDIT_{missing.upper()}"):
        AuditSettings(**{**token, missing: "" if missing == "hsm_token" else None})


def test_a_log_lives_on_a_token_through_erasure_rotation_and_restarts(token, audit_log, gateway) -> None:
    audit_log.provider = AuditSettings(**token).key_source
    writer = audit_log.open()
    gateway.tenant = "bank"
    writer.commit([gateway.accept("r1", subject="C"), gateway.end("r1")])
    writer.commit([gateway.accept("r2", subject="D"), gateway.end("r2")])
    keys = writer.custody.keys
    gone, old = keys.keys_of("bank", keys.pseudonym("bank", "C")), keys.provider_key
    keys.erase("bank", gone, keys.table_without("bank", gone))
    keys.flush()
    keys.use_provider_key(keys.provider.create())
    assert keys.rewrap() == 2  # the bank's, and the log's own
    keys.destroy_provider_keys([old])
    audit_log.crash()
    writer = audit_log.open()
    assert writer.records.record("r1").summary.state == "ERASED" and writer.records.record("r2").fields
    assert writer.custody.keys.provider.held() == [writer.custody.keys.provider_key]
    assert not list(audit_log.folders.keys.glob(f"{PROVIDER}*"))
    writer.stop()
    assert verify_home(audit_log.home).exit_code == VERIFIES


def test_a_log_moves_from_the_file_to_a_token_by_a_rotation(token, audit_log, gateway) -> None:
    writer = audit_log.open()
    writer.commit([gateway.accept("r1", subject="C"), gateway.end("r1")])
    audit_log.crash()
    token["home"] = audit_log.home
    audit_log.provider = AuditSettings(**token).key_source
    keys = audit_log.open().custody.keys
    [old] = keys.provider.held()
    assert keys.provider.kind == "file, moving to pkcs11"
    keys.use_provider_key(keys.provider.create())
    keys.rewrap()
    keys.destroy_provider_keys([old])
    audit_log.crash()
    writer = audit_log.open()
    assert writer.custody.keys.provider.kind == "pkcs11" and writer.records.record("r1").fields
    assert not list(audit_log.folders.keys.glob(f"{PROVIDER}*"))
