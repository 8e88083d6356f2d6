"""Failures as google.rpc.Status and back, without a wire."""

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import code_name, code_number, from_status, to_status
from chassis.failures import KINDS, Internal

TEXT = st.text(max_size=40)


@given(
    kind=st.sampled_from(list(KINDS.values())),
    message=TEXT,
    reason=st.from_regex(r"[A-Z][A-Z_]{0,20}", fullmatch=True),
    field=TEXT,
    retry_ms=st.none() | st.integers(0, 10**9),
    metadata=st.dictionaries(st.sampled_from(["model", "bound", "other_record_id"]), TEXT),
)
def test_what_is_told_is_heard(kind, message, reason, field, retry_ms, metadata):
    retry = None if retry_ms is None else retry_ms / 1000
    heard = from_status(to_status(kind(message, reason=reason, field=field, retry_after_seconds=retry, **metadata)))
    assert type(heard) is kind
    assert (str(heard), heard.reason, heard.field, heard.metadata) == (message, reason, field, metadata)
    assert heard.retry_after_seconds == pytest.approx(retry) if retry is not None else heard.retry_after_seconds is None


def test_a_status_from_elsewhere_is_still_a_failure():
    strange = status_pb2.Status(code=code_pb2.ALREADY_EXISTS, message="there")
    assert (from_status(strange).code, from_status(strange).reason) == ("ALREADY_EXISTS", "ALREADY_EXISTS")
    aborted = from_status(status_pb2.Status(code=code_pb2.ABORTED, message="conflict"))
    assert type(aborted) is Internal


def test_metadata_named_like_an_argument_of_ours_does_no_harm():
    info = error_details_pb2.ErrorInfo(reason="R", metadata={"retry_after_seconds": "x", "message": "y", "self": "z"})
    status = status_pb2.Status(code=code_pb2.NOT_FOUND)
    status.details.add().Pack(info)
    assert from_status(status).metadata == {"retry_after_seconds": "x", "message": "y", "self": "z"}


def test_every_kind_has_a_code_of_googles():
    for name, kind in KINDS.items():
        assert (kind.code, code_name(code_number(name))) == (name, name)
