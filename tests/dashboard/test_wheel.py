"""The wheel has all that the dashboard shows and runs, also what was bundled from npm."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = ROOT / "src/liveman/dashboard"
BUNDLED = {"dash.js": b"export{", "qr.js": b"export{", "third-party.txt": b"dashjs "}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Built from a copy: a build leaves its traces in the folder."""
    copy, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy, stdout=subprocess.DEVNULL, check=True)
    (path,) = wheels.iterdir()
    return ZipFile(path)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundles_are_in_the_wheel(wheel: ZipFile, name: str) -> None:
    assert (DASHBOARD / "static" / name).exists(), "`make dashboard` makes the bundles"
    data = wheel.read(f"liveman/dashboard/static/{name}")
    assert BUNDLED[name] in data
    assert data == (DASHBOARD / "static" / name).read_bytes()


def test_all_of_the_dashboard_is_in_the_wheel(wheel: ZipFile) -> None:
    """Templates, styles, scripts and pictures."""
    there = {name for name in wheel.namelist() if name.startswith("liveman/dashboard/")}
    files = [
        path.relative_to(ROOT / "src").as_posix()
        for path in DASHBOARD.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert there >= set(files)


def test_the_licences_of_what_is_bundled_go_with_it(wheel: ZipFile) -> None:
    text = wheel.read("liveman/dashboard/static/third-party.txt").decode()
    for name in ("dashjs ", "uqr ", "imsc ", "sax "):
        assert f"\n{name}" in f"\n{text}"
    assert "esbuild" not in text
