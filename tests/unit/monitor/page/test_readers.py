"""Whose connections may read the pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.monitor.page.readers import LOOPBACK, NoHost, host_address, readers

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
ZONE = "eth1\t00001AAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
DEFAULT = "eth0\t00000000\t01001BAC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"


def test_the_host_is_where_the_default_route_leads() -> None:
    assert host_address(HEAD + ZONE + DEFAULT) == "172.27.0.1"


@pytest.mark.parametrize("table", ["", HEAD, HEAD + ZONE])
def test_without_a_default_route_nobody_is_guessed(table: str) -> None:
    with pytest.raises(NoHost, match="set it to loopback"):
        host_address(table)


def test_only_who_is_asked_for_may_read(tmp_path: Path) -> None:
    """Fails if the host is let in where nobody asked for it: the host of a container may be anybody's proxy."""
    (tmp_path / "route").write_text(HEAD + DEFAULT)
    assert readers("loopback", tmp_path / "route") == LOOPBACK
    assert readers("host", tmp_path / "route") == LOOPBACK | {"172.27.0.1"}
