"""`strongroom adapters`: LoRA adapters loaded into and taken from workers that run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from strongroom.cli.ending import OK
from strongroom.cli.services import Call, calling
from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1 import inference_pb2_grpc as rpc
from strongroom.location import locate


def register(commands: Any, shared: argparse.ArgumentParser) -> None:
    what = "list, load and unload LoRA adapters while the workers serve"
    parser = commands.add_parser("adapters", help=what, description=what)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[shared], help="what is loaded, with digests")
    listing.add_argument("--json", action="store_true", help="print one JSON array a worker, by line")
    listing.set_defaults(act=_list)
    loading = actions.add_parser("load", parents=[shared], help="load HOME/adapters/NAME, as peft saves it")
    loading.add_argument(
        "--digest", type=_digest, default=b"", metavar="HEX", help="refuse it unless its SHA-256 is this"
    )
    loading.set_defaults(act=_load)
    unloading = actions.add_parser("unload", parents=[shared], help="take one away; refused while a request uses it")
    unloading.set_defaults(act=_unload)
    for action in (loading, unloading):
        action.add_argument("name", metavar="NAME")
    for action in (listing, loading, unloading):
        action.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """On every worker of this machine's stack: each has adapters of its own."""
    location = locate(arguments.home)
    for worker in location.workers():
        with calling(location, worker, rpc.InferenceServiceStub) as call:
            arguments.act(arguments, worker, call)
    return OK


def _list(arguments: argparse.Namespace, worker: str, call: Call) -> None:
    listed = call("ListAdapters", pb.ListAdaptersRequest())
    if arguments.json:
        left_out = [{**_named(one), "left_out": one.reason} for one in listed.left_out]
        print(json.dumps([{"worker": worker, **each} for each in [*map(as_json, listed.adapters), *left_out]]))
        return
    lines = [_line(adapter) for adapter in listed.adapters] or ["no adapter is loaded"]
    lines += [f"{one.name}  sha256:{one.digest.hex()}  left out: {one.reason}" for one in listed.left_out]
    print("\n".join(f"{worker}  {line}" for line in lines))


def _load(arguments: argparse.Namespace, worker: str, call: Call) -> None:
    request = pb.LoadAdapterRequest(name=arguments.name, digest=arguments.digest)
    print(f"{worker}  {_line(call('LoadAdapter', request).adapter)}")


def _unload(arguments: argparse.Namespace, worker: str, call: Call) -> None:
    call("UnloadAdapter", pb.UnloadAdapterRequest(name=arguments.name))
    print(f"{worker}  {arguments.name} is unloaded")


def _digest(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != 32:
        raise ValueError
    return found


def as_json(adapter: pb.Adapter) -> dict[str, Any]:
    return {**_named(adapter), "rank": adapter.rank, "layers": adapter.layers}


def _named(adapter: pb.Adapter | pb.LeftOutAdapter) -> dict[str, Any]:
    return {"name": adapter.name, "digest": adapter.digest.hex()}


def _line(adapter: pb.Adapter) -> str:
    return f"{adapter.name}  sha256:{adapter.digest.hex()}  rank {adapter.rank}, {adapter.layers} layers"
