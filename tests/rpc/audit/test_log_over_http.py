"""The log as a stranger reads it over HTTP: everything that the checkpoint needs, and nothing else of the folder."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from strongroom.verify import leaf_hash, open_checkpoint, parse_vkey, tree_root

from chassis.web import serving_http
from services.audit.log_over_http import log_routes
from services.audit.records.planning import Clock, Control
from services.audit.writer import Folders, Writer
from stack.keys import make_development_keys

ENTRIES = 600  # two full tiles and a partial one


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of a log with entries in more than one tile."""
    folders = Folders(tmp_path / "audit", tmp_path / "keys")
    make_development_keys(folders.keys)
    writer = Writer(folders, Clock(time.time, time.monotonic))
    writer.commit([Control("of a test", {"n": n}) for n in range(ENTRIES)])
    writer.publish()
    async with (
        serving_http("127.0.0.1:0", lambda: "", log_routes(folders.tlog)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/tlog/") as client,
    ):
        yield client
    writer.close()


async def read(door: httpx.AsyncClient, path: str, kind: str) -> bytes:
    answer = await door.get(path)
    assert answer.status_code == 200, path
    assert answer.headers["content-type"] == kind
    return answer.content


def tile(level: str, index: int, count: int) -> str:
    """The path of one of `count` hashes or entries in all."""
    width = min(256, count - 256 * index)
    return f"tile/{level}/{index:03d}" + ("" if width == 256 else f".p/{width}")


def entries_of(bundle: bytes) -> list[bytes]:
    found = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        found.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return found


async def test_a_stranger_comes_from_the_entries_to_the_signed_root(door):
    """Fails if tiles are served that are not those of the checkpoint."""
    text, raw = "text/plain; charset=utf-8", "application/octet-stream"
    key = parse_vkey((await read(door, "log.vkey", text)).decode().strip())
    checkpoint = open_checkpoint((await read(door, "checkpoint", text)).decode(), key)
    assert checkpoint.size > ENTRIES
    places = range(-(-checkpoint.size // 256))
    bundles = [await read(door, tile("entries", index, checkpoint.size), raw) for index in places]
    hashes = [leaf_hash(entry) for bundle in bundles for entry in entries_of(bundle)]
    assert len(hashes) == checkpoint.size and tree_root(hashes) == checkpoint.root
    tiles = [await read(door, tile("0", index, checkpoint.size), raw) for index in places]
    assert b"".join(tiles) == b"".join(hashes)
    full = checkpoint.size // 256
    assert await read(door, tile("1", 0, full), raw) == b"".join(
        tree_root(hashes[256 * index : 256 * (index + 1)]) for index in range(full)
    )


async def test_tiles_may_be_kept_for_ever_and_the_checkpoint_may_not(door):
    assert "immutable" in (await door.get("tile/0/000")).headers["cache-control"]
    assert (await door.get("checkpoint")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "witness-policy", "checkpoint.cosigned",
        "", "log", "tile", "tile/0", "tile/0/0", "tile/0/999", "tile/64/000", "tile/0/x01/000", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/7", "tile/0/000.p", "tile/-1/000", "tile/entries", "%2e%2e/format",
        "%2e%2e/keys/tenants.json", "tile/0/%2e%2e/%2e%2e/checkpoint", "tile/0/%D9%A0%D9%A0%D9%A0", "checkpoint/x",
    ],
)  # fmt: skip
async def test_nothing_else_is_there(door, path):
    answer = await door.get(path)
    # A client may resolve the dots by itself, and then asks for what is no route at all.
    assert answer.status_code == 404 and answer.json()["error"]["code"] in ("NOT_IN_THE_LOG", "ROUTE_NOT_FOUND")


async def test_nothing_can_be_written(door):
    for method in ("POST", "PUT", "DELETE"):
        assert (await door.request(method, "checkpoint")).status_code == 405
