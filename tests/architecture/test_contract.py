"""The protos: well formed, compiled as they stand, and guarded method by method."""

import importlib
import re
from importlib.resources import files as package_files
from pathlib import Path

import pytest
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]
CONTRACTS = sorted(path.parents[1].name for path in ROOT.glob("protos/strongroom/*/v1/*.proto"))
SERVED = sorted(path.parent.name for path in ROOT.glob("services/*/servicer.py"))
OF_OTHERS = {"/opentelemetry.proto.collector.trace.v1.TraceService/Export"}  # the monitor receives OTLP


def methods(service):
    """The contract's methods, as gRPC names them."""
    contract = importlib.import_module(f"strongroom.{service}.v1.{service}_pb2").DESCRIPTOR
    return {
        f"/{described.full_name}/{method.name}"
        for described in contract.services_by_name.values()
        for method in described.methods
    }


def test_the_contract_covers_the_five_services():
    assert {"gateway", "guard", "inference", "audit", "monitor"} <= set(CONTRACTS)
    assert all(methods(service) for service in CONTRACTS)


def test_buf_finds_nothing_to_say(tool, root):
    said = tool("buf", "lint", folder=root / "protos")
    assert (said.returncode, said.stdout) == (0, ""), said.stdout + said.stderr


def test_protos_import_only_what_every_compiler_carries(root):
    for proto in root.glob("protos/strongroom/*/v1/*.proto"):
        imports = re.findall(r'^import "([^"]+)"', proto.read_text(), re.MULTILINE)
        assert all(name.startswith("google/protobuf/") for name in imports), proto.name


@pytest.mark.parametrize("service", CONTRACTS)
def test_stubs_are_what_their_proto_compiles_to(service, tmp_path):
    """Else a proto was changed and not compiled: `make setup` does it."""
    protos = ROOT / "protos"
    source = protos / "strongroom" / service / "v1" / f"{service}.proto"
    well_known = package_files("grpc_tools") / "_proto"
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    assert protoc.main(["protoc", f"-I{protos}", f"-I{well_known}", *outputs, str(source)]) == 0
    for fresh in tmp_path.rglob("*.py"):
        installed = protos / fresh.relative_to(tmp_path)
        assert installed.read_text() == fresh.read_text(), f"{installed.name} is stale: run `make setup`"


@pytest.mark.parametrize("service", SERVED)
def test_every_method_of_a_service_is_in_its_allow_list_and_nothing_else(service):
    allowed = importlib.import_module(f"services.{service}.servicer").ALLOWED
    assert set(allowed) - OF_OTHERS == methods(service)


@pytest.mark.parametrize("service", SERVED)
def test_allow_lists_name_grants_that_exist(service):
    allowed = importlib.import_module(f"services.{service}.servicer").ALLOWED
    for method, grants in allowed.items():
        assert grants, f"{method} is open to nobody"
        for grant in grants:
            kind, _, name = grant.partition(":")
            assert kind in ("service", "role") and name, f"{method}: {grant} is no grant"
            assert kind != "service" or name in {*CONTRACTS, "tuner"}, f"{method}: no service {name}"


@pytest.mark.parametrize("service", SERVED)
def test_audit_entries_and_guard_exchanges_are_the_gateways_alone(service):
    allowed = importlib.import_module(f"services.{service}.servicer").ALLOWED
    for stream in ("/strongroom.audit.v1.AuditService/Append", "/strongroom.guard.v1.GuardService/Exchange"):
        assert allowed.get(stream, {"service:gateway"}) == {"service:gateway"}


@pytest.mark.parametrize("service", SERVED)
def test_every_method_has_a_test_over_the_wire(service):
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "rpc" / service).glob("*.py"))
    untested = [method for method in methods(service) if f".{method.rpartition('/')[2]}(" not in tests]
    assert untested == []
