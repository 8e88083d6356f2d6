"""Calls to the services behind the gateway, for the commands that look after a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from strongroom.client import open_channel
from strongroom.failures import CallFailed, Unavailable, from_rpc_error
from strongroom.location import Location

CALL_SECONDS = 10.0

Call = Callable[[str, Any], Any]


@contextmanager
def calling(
    location: Location, service: str, stub: Callable[[Any], Any], seconds: float = CALL_SECONDS
) -> Iterator[Call]:
    """Yields `call(method, request)`; what fails raises CallFailed, and names the service if nobody answers."""
    address = location.address(service)
    metadata = (("authorization", f"Bearer {location.api_key()}"),)
    with open_channel(address) as channel:
        methods = stub(channel)

        def call(method: str, request: Any) -> Any:
            try:
                return getattr(methods, method)(request, timeout=seconds, metadata=metadata)
            except grpc.RpcError as error:
                raise naming(service, address, from_rpc_error(error)) from None

        yield call


@contextmanager
def streaming(
    location: Location, service: str, stub: Callable[[Any], Any], method: str, request: Any, seconds: float
) -> Iterator[Iterator[Any]]:
    """Yields the responses of one call, as they come; what fails raises CallFailed as it does for `calling`."""
    address = location.address(service)
    metadata = (("authorization", f"Bearer {location.api_key()}"),)
    with open_channel(address) as channel:
        call = getattr(stub(channel), method)(request, timeout=seconds, metadata=metadata)

        def responses() -> Iterator[Any]:
            try:
                yield from call
            except grpc.RpcError as error:
                raise naming(service, address, from_rpc_error(error)) from None

        try:
            yield responses()
        finally:
            call.cancel()


def naming(service: str, address: str, failure: CallFailed) -> CallFailed:
    """gRPC's own words for a closed port help nobody; a service's own reasons stay as they are."""
    if failure.code != "UNAVAILABLE" or failure.reason != "UNAVAILABLE":
        return failure
    if failure.request_id:
        lost = f"the {service} at {address} was lost while it answered; `strongroom status` says whether it is back"
        return Unavailable(lost, request_id=failure.request_id)
    message = f"no {service} answers at {address}: see `strongroom status`, or start a stack with `strongroom up`"
    return Unavailable(message)
