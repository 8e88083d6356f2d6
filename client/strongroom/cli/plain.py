"""Messages as plain JSON objects: every field there, numbers as numbers, times in RFC 3339."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message) -> dict[str, Any]:
    """Unlike protobuf's own JSON, which writes 64-bit numbers as strings and leaves zeros out."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Message, field: Any) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    return [_plain(each) for each in value] if field.is_repeated else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, bytes):
        return value.hex()
    return plain(value) if isinstance(value, Message) else value
