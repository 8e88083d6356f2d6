"""install.sh loads what was signed by the key that was pinned, whole, and nothing else.

Archives are made by bundle.sh; all is real but Docker and the size of what is in them.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAME = "strongroom-0.1.0-amd64"
MODEL = "smollm2-135m-instruct"

# Answers as Docker does; what it is asked to load it keeps.
DOCKER = """#!/bin/sh
case "$1" in
  image) echo amd64 ;;
  save) head -c 200000 /dev/urandom ;;
  version) test "$DOCKER_ARCHITECTURE" && echo "$DOCKER_ARCHITECTURE" ;;
  load) cp "$4" "$HOME/loaded" ;;
esac
"""


@dataclass
class Machine:
    """Where bundles are made or installed."""

    folder: Path
    architecture: str = "amd64"  # of its Docker; empty: it is not running

    def __post_init__(self) -> None:
        self.programs = self.folder / "programs"
        self.programs.mkdir(parents=True)
        self.add_program("docker", DOCKER)

    def add_program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.folder)}
        environ |= {"DOCKER_ARCHITECTURE": self.architecture}
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=120)

    def install(self, archive: Path, *options: object) -> subprocess.CompletedProcess[str]:
        return self.run("sh", ROOT / "deploy/install.sh", archive, *options)

    def bundle(self) -> Path:
        model, wheels = self.folder / MODEL, self.folder / "wheels"
        for made, name in ((model, "config.json"), (wheels, "SHA256SUMS")):
            made.mkdir(exist_ok=True)
            (made / name).write_text("{}")
        (model / "weights").write_bytes(os.urandom(200_000))
        (model / "weights").chmod(0o600)
        done = self.run(ROOT / "deploy/bundle.sh", "0.1.0", model, wheels, self.folder / "dist")
        assert done.returncode == 0, done.stderr
        return self.folder / f"dist/{NAME}.tar"

    @property
    def loaded(self) -> Path:
        return self.folder / "loaded"


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("maker"))


@pytest.fixture(scope="module")
def bundle(maker: Machine) -> Path:
    return maker.bundle()


@pytest.fixture(scope="module")
def fingerprint(maker: Machine, bundle: Path) -> str:
    key = maker.folder / ".config/strongroom/release.key"
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True)
    return hashlib.sha256(public.stdout).hexdigest()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "zone")


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def write(archive: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(archive, "w") as tar:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive


def refused(machine: Machine, archive: Path, *options: object) -> str:
    """What is said; nothing may have been loaded or put in place by then."""
    done = machine.install(archive, *options)
    assert done.returncode != 0, done.stdout
    assert not machine.loaded.exists()
    assert not (machine.folder / "strongroom").exists(), "half-checked files were left behind"
    return done.stderr


def test_an_archive_signed_by_the_pinned_key_is_loaded_and_put_in_place(
    machine: Machine, bundle: Path, fingerprint: str
) -> None:
    done = machine.install(bundle, "--fingerprint", fingerprint)
    assert done.returncode == 0, done.stderr
    images = members(bundle)[f"{NAME}/images.tar.gz"]
    assert machine.loaded.read_bytes() == images
    into = machine.folder / "strongroom"
    assert (into / "compose.yaml").read_bytes() == (ROOT / "compose.yaml").read_bytes()
    assert (into / ".env").read_text() == "STRONGROOM_IMAGE=strongroom:0.1.0\n"
    weights = into / "deploy/models" / MODEL / "weights"
    assert len(weights.read_bytes()) == 200_000
    assert stat.S_IMODE(weights.stat().st_mode) & 0o044 == 0o044, "the containers' user could not read the model"
    assert not list(into.glob(".incoming*"))


def test_a_key_from_a_file_pins_as_well(maker: Machine, machine: Machine, bundle: Path) -> None:
    public = machine.folder / "release.pub"
    public.write_bytes(members(bundle)[f"{NAME}/release.pub"])
    assert machine.install(bundle, "--key", public).returncode == 0


def test_checking_changes_nothing(machine: Machine, bundle: Path, fingerprint: str) -> None:
    assert machine.install(bundle, "--fingerprint", fingerprint, "--check").returncode == 0
    assert not machine.loaded.exists()
    assert not (machine.folder / "strongroom").exists()


def test_a_newer_version_replaces_the_model_and_leaves_secrets_and_settings(
    machine: Machine, bundle: Path, fingerprint: str
) -> None:
    """Fails if the model's folder is merged with the one that is there."""
    into = machine.folder / "strongroom"
    kept = into / "deploy/secrets/ticket"
    stale = into / "deploy/models" / MODEL / "old-shard"
    for file in (kept, stale):
        file.parent.mkdir(parents=True)
        file.write_text("was here")
    (into / ".env").write_text("STRONGROOM_PORT=8400\nSTRONGROOM_IMAGE=strongroom:0.0.9\n")
    assert machine.install(bundle, "--fingerprint", fingerprint).returncode == 0
    assert kept.read_text() == "was here"
    assert not stale.exists()
    assert (into / ".env").read_text() == "STRONGROOM_PORT=8400\nSTRONGROOM_IMAGE=strongroom:0.1.0\n"


def test_without_a_pin_the_fingerprint_is_shown_and_nothing_is_installed(
    machine: Machine, bundle: Path, fingerprint: str
) -> None:
    """Fails if the archive's own key is trusted because it is there."""
    assert f"add: --fingerprint {fingerprint}" in refused(machine, bundle)


def test_another_key_than_the_pinned_one_is_refused(machine: Machine, bundle: Path, tmp_path: Path) -> None:
    other = Machine(tmp_path / "other")
    other.bundle()
    theirs = tmp_path / "theirs.pub"
    theirs.write_bytes(members(other.folder / f"dist/{NAME}.tar")[f"{NAME}/release.pub"])
    assert "another key" in refused(machine, bundle, "--key", theirs)
    assert "another key" in refused(machine, bundle, "--fingerprint", "0" * 64)


@pytest.mark.parametrize("file", ["images.tar.gz", "models.tar.gz", "files.tar.gz", "install.sh", "MANIFEST"])
def test_one_flipped_bit_in_any_file_is_found_and_the_file_named(
    machine: Machine, bundle: Path, fingerprint: str, tmp_path: Path, file: str
) -> None:
    content = members(bundle)
    data = bytearray(content[f"{NAME}/{file}"])
    data[len(data) // 2] ^= 1
    altered = write(tmp_path / "altered.tar", content | {f"{NAME}/{file}": bytes(data)})
    said = refused(machine, altered, "--fingerprint", fingerprint)
    assert file in said and "copy it once more" in said


def test_checksums_that_were_made_to_fit_are_not_signed(
    machine: Machine, bundle: Path, fingerprint: str, tmp_path: Path
) -> None:
    content = members(bundle)
    images = b"somebody's images"
    was = hashlib.sha256(content[f"{NAME}/images.tar.gz"]).hexdigest()
    sums = content[f"{NAME}/SHA256SUMS"].decode().replace(was, hashlib.sha256(images).hexdigest())
    forged = content | {f"{NAME}/images.tar.gz": images, f"{NAME}/SHA256SUMS": sums.encode()}
    said = refused(machine, write(tmp_path / "forged.tar", forged), "--fingerprint", fingerprint)
    assert "signature does not fit" in said


def test_what_nobody_signed_is_refused_wherever_it_lies(
    machine: Machine, bundle: Path, fingerprint: str, tmp_path: Path
) -> None:
    for added in (f"{NAME}/deploy.sh", "../outside", f"{NAME}/MANIFEST.bak"):
        padded = write(tmp_path / "padded.tar", members(bundle) | {added: b"#!/bin/sh\n"})
        said = refused(machine, padded, "--fingerprint", fingerprint)
        assert "nobody signed" in said and added in said


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 0.99])
def test_an_archive_that_ends_too_early_is_refused(
    machine: Machine, bundle: Path, fingerprint: str, tmp_path: Path, share: float
) -> None:
    whole = bundle.read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: int(len(whole) * share)])
    assert "copy it once more" in refused(machine, cut, "--fingerprint", fingerprint)


def test_an_archive_for_another_processor_is_refused_before_it_is_unpacked(
    bundle: Path, fingerprint: str, tmp_path: Path
) -> None:
    said = refused(Machine(tmp_path / "arm", architecture="arm64"), bundle, "--fingerprint", fingerprint)
    assert "is for amd64 and this machine's Docker runs arm64" in said
    assert "take strongroom-0.1.0-arm64.tar" in said


def test_a_docker_that_does_not_answer_is_named(bundle: Path, fingerprint: str, tmp_path: Path) -> None:
    said = refused(Machine(tmp_path / "stopped", architecture=""), bundle, "--fingerprint", fingerprint)
    assert "systemctl start docker" in said


def test_a_disk_without_room_is_named_before_anything_is_unpacked(
    machine: Machine, bundle: Path, fingerprint: str
) -> None:
    machine.add_program("df", "#!/bin/sh\nprintf 'Filesystem\\nx 9 9 100 9 /\\n'\n")
    assert "MB free and needs" in refused(machine, bundle, "--fingerprint", fingerprint)


def test_an_openssl_that_cannot_check_is_not_taken_for_one_that_did(
    machine: Machine, bundle: Path, fingerprint: str
) -> None:
    """Fails if the signature's check is passed over where it cannot be made."""
    machine.add_program("openssl", "#!/bin/sh\necho 'OpenSSL 1.1.1w  11 Sep 2023'\n")
    assert "needs OpenSSL 3" in refused(machine, bundle, "--fingerprint", fingerprint)


def test_a_wrong_call_says_how_it_is_called(machine: Machine, bundle: Path, tmp_path: Path) -> None:
    for options, said in (
        ((bundle, "--key"), "--key needs a value"),
        ((bundle, "--force"), "no option --force"),
        ((bundle, bundle), "one archive at a time"),
        ((bundle, "--key", tmp_path / "none"), "there is no file"),
        ((tmp_path / "none",), "there is no file"),
    ):
        done = machine.install(*options)
        assert done.returncode == 2 and said in done.stderr


def test_the_release_key_is_made_once_and_for_its_owner_alone(maker: Machine, bundle: Path, fingerprint: str) -> None:
    key = maker.folder / ".config/strongroom/release.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    again = shutil.copy(bundle, bundle.with_suffix(".first"))
    maker.bundle()
    assert key.read_bytes() == before
    assert members(Path(again))[f"{NAME}/release.pub"] == members(bundle)[f"{NAME}/release.pub"]


def test_a_bundle_holds_no_secret_and_no_private_key(maker: Machine, bundle: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(members(bundle)[f"{NAME}/files.tar.gz"])) as tar:
        names = tar.getnames()
    assert "compose.yaml" in names and "deploy/install.sh" in names
    assert [name for name in names if "secrets/" in name or name.endswith(".key")] == []
    assert all(b"PRIVATE KEY" not in data for name, data in members(bundle).items() if not name.endswith(".gz"))
