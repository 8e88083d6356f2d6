"""compose.yaml: how each container is confined, which secrets it holds, what is published, and that settings exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.settings import load, variables
from services.audit.settings import AuditSettings
from services.witness.settings import WitnessSettings
from stack.keys import HOLDERS, LOG_SECRETS, SECRETS
from stack.services_settings import KINDS

ROOT = Path(__file__).parents[2]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = STACK["services"]
OURS = [name for name, service in SERVICES.items() if "strongroom:" in service["image"]]
OTHERS = sorted(SERVICES.keys() - set(OURS))

# DESIGN: audit and workers hold keys/ticket and gateways do not; gateways and workers hold keys/queue; guards hold
# keys/token; each service has its own token and the hashes of the others'; the log's own keys are audit's alone.
MAY_HOLD = {
    "redis": set(),
    "audit": {"credentials.json", "service-audit", "ticket", "log-signing", "audit-provider"},
    "guard": {"credentials.json", "service-guard", "token"},
    "inference": {"credentials.json", "service-inference", "ticket", "queue"},
    "inference-gpu": {"credentials.json", "service-inference", "ticket", "queue"},
    "inference-vllm": {"credentials.json", "service-inference", "ticket", "queue"},
    "gateway": {"credentials.json", "service-gateway", "queue"},
    "monitor": {"credentials.json", "service-monitor"},
}
PUBLISHED = {"gateway": {7400, 7410}, "monitor": {7414}, "prometheus": {9090}, "grafana": {3000}, "jaeger": {16686}}


def plain(text: object) -> str:
    """With the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


@pytest.mark.parametrize("name", OURS)
def test_each_container_of_ours_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"}
    assert service["mem_limit"] and service["pids_limit"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", OTHERS)
def test_containers_of_others_are_confined_as_far_as_their_images_let_them(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == ["observability"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert not re.search(r":latest\}?$", service["image"]) and "secrets" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_the_secrets_that_it_may_hold_and_no_other(name: str) -> None:
    """Fails if one line too many stands under a service's `secrets`."""
    assert set(SERVICES[name].get("secrets", ())) == MAY_HOLD.get(name, set())


def test_every_secret_is_a_file_that_the_command_makes() -> None:
    made = {*SECRETS, *LOG_SECRETS, "credentials.json", *(h.file for h in HOLDERS if h.kind == "service")}
    assert STACK["secrets"].keys() == made
    assert all(plain(secret["file"]) == f"./deploy/secrets/{name}" for name, secret in STACK["secrets"].items())


def test_only_the_gateway_and_pages_are_published_and_on_loopback_alone() -> None:
    """Fails if a port is published without an address before it: Docker would listen on all."""
    published = {name: [plain(port) for port in service.get("ports", ())] for name, service in SERVICES.items()}
    assert {name: {int(port.rsplit(":")[-1]) for port in ports} for name, ports in published.items() if ports} == (
        PUBLISHED
    )
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_zone_has_no_way_out_and_only_what_is_published_stands_beside_it() -> None:
    zone, edge = STACK["networks"]["zone"], STACK["networks"]["edge"]
    assert zone["internal"] is True
    assert zone["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert edge["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    beside = {name for name, service in SERVICES.items() if "edge" in service.get("networks", ())}
    assert beside == set(PUBLISHED)
    for name in OURS:
        assert SERVICES[name].get("network_mode") == "none" or "zone" in SERVICES[name]["networks"]
        assert SERVICES[name]["dns"] == ["127.0.0.1"]


@pytest.mark.parametrize("name", [name for name in OURS if SERVICES[name].get("secrets")])
def test_each_service_takes_its_settings(name: str) -> None:
    """Fails if a variable is misspelt: the service would refuse it, but only in its container."""
    service = str(SERVICES[name]["command"][-1]).removeprefix("services.")
    settings = load(
        KINDS[service], service, {key: plain(value) for key, value in SERVICES[name]["environment"].items()}
    )
    assert settings.mode == "development" and settings.insecure and settings.keys_folder == Path("/run/secrets")
    known = {f"STRONGROOM_{field.upper()}" for field in vars(settings)}
    own = f"STRONGROOM_{service.upper()}_"
    assert all(key in known or key.startswith(own) for key in SERVICES[name]["environment"])


def test_the_witness_takes_its_settings_and_shares_neither_volume_nor_secret_with_the_log() -> None:
    """Fails if its folder lies in STRONGROOM_HOME: the witness would refuse it, but only in its container."""
    given = {key: plain(value) for key, value in SERVICES["witness"]["environment"].items()}
    settings = load(WitnessSettings, "witness", given)
    assert settings.own_address == "0.0.0.0:7450" and settings.name
    assert SERVICES["witness"]["volumes"] == ["witness:/data"]
    asked = yaml.safe_load((ROOT / "deploy/compose/witness.yaml").read_text(encoding="utf-8"))["services"]
    assert asked.keys() == {"audit"} and asked["audit"]["environment"].keys() <= {*variables(AuditSettings, "audit")}


@pytest.mark.parametrize("name", [name for name in OURS if "profiles" not in SERVICES[name]])
def test_each_service_comes_back_and_tells_whether_it_takes_work(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]["test"]
    assert check[-1] == name or "redis-cli" in check[-1]


def test_redis_keeps_what_it_is_given_and_evicts_nothing() -> None:
    command = [plain(word) for word in SERVICES["redis"]["command"]]
    assert {"--appendonly yes", "--maxmemory-policy noeviction", "--dir /data"} <= set(command)
    assert "queue:/data" in SERVICES["redis"]["volumes"]


@pytest.mark.skipif(
    not shutil.which("docker-compose"), reason="docker-compose is not here: apt-get install docker-compose"
)
def test_docker_compose_reads_it_with_every_profile() -> None:
    """All that is said of the profiles that were not run."""
    profiles = [f"--profile={name}" for name in ("tools", "observability", "gpu")]
    read = subprocess.run(
        ["docker-compose", *profiles, "config"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    assert yaml.safe_load(read.stdout)["services"].keys() == SERVICES.keys()
