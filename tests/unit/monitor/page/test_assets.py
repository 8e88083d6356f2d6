"""What pages load: as vendored, and in the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

from services.monitor.page.assets import asset_address, assets

ROOT = Path(__file__).parents[4]
FOLDER = "services/monitor/page/"


def test_the_chart_library_is_the_one_that_the_documentation_names():
    """Fails if the vendored file is edited, or replaced without a word of it."""
    documented = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for name in ("uplot/uPlot.iife.min.js", "uplot/uPlot.min.css"):
        assert assets()[name].digest in documented, name
    assert b"(v1.6.32)" in assets()["uplot/uPlot.iife.min.js"].content[:100]


def test_an_address_names_its_content():
    name, _, version = asset_address("page.css").rpartition("?v=")
    assert name == "/assets/page.css" and assets()["page.css"].digest.startswith(version)


def test_the_wheel_carries_templates_words_assets_and_the_licence(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    kept = [path for path in (ROOT / FOLDER).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in kept} - carried == set()
    assert {FOLDER + name for name in ("assets/uplot/LICENSE", "templates/overview.html", "words.yaml")} <= carried
