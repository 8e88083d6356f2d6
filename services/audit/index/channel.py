"""Between audit and the process that writes its index: messages of JSON over a socket that both inherit."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypedDict

Message = dict[str, Any]


class Start(TypedDict):
    """The first message: where everything is, and how much of the disk is not the index's."""

    journal: str
    tlog: str
    index: str
    vkey: str
    kept_free_bytes: int


class Gone(Exception):
    """The other side has ended, or ends."""


class Channel:
    """One thread receives; any may send."""

    def __init__(self, descriptor: int) -> None:
        """Takes the socket over."""
        self._connection = Connection(descriptor)
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        try:
            with self._sending:
                self._connection.send_bytes(json.dumps(message).encode())
        except OSError:
            raise Gone from None

    def receive(self, seconds: float | None = None) -> Message | None:
        """None where nothing comes in that time."""
        try:
            if not self._connection.poll(seconds):
                return None
            message = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise Gone from None
        assert isinstance(message, dict)
        return message

    def hang_up(self) -> None:
        """From any thread: both sides then find the other gone."""
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    return base64.b64decode(text)
