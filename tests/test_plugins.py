"""Distributions with ICE providers, installed as users install them: wheels in a fresh virtual environment."""

import ast
import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from liveman import ice
from liveman.ice.testing import Answer, Asked, FakeVendor
from support.liveman import OFFER
from support.raw_node import RawNode, raw_node

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "examples" / "ice_provider"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/setup.cfg"))
SID = "AC" + "0" * 32


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with Liveman, the plugins and the template, each from its wheel.

    What they depend on is taken from the environment that runs the tests.
    """
    assert int(version("setuptools").partition(".")[0]) >= 77, (
        "install the extra `test`: wheels are built here"
    )
    home = tmp_path_factory.mktemp("plugins")
    wheels = home / "wheels"
    builds = [build(source, home / source.name, wheels) for source in (ROOT, *PLUGINS, TEMPLATE)]
    assert [process.wait() for process in builds] == [0] * len(builds)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    bin = home / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", bin / "python"]
    # Not this process's environment: what its PYTHONPATH leads to would count as installed.
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", *wheels.iterdir()], env=environment(), check=True
    )
    (site,) = (home / "venv").glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    inherited = [path for path in sys.path if path.endswith("site-packages") and path not in paths]
    (site / "dependencies.pth").write_text("\n".join([*paths, *inherited]) + "\n")
    return bin


def build(source: Path, copy: Path, wheels: Path) -> subprocess.Popen[bytes]:
    """Begin to build a wheel as pip does (PEP 517), from a copy: a build leaves its traces in the folder."""
    copy.mkdir()
    for name in ("src", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (source / name).is_dir():
            shutil.copytree(
                source / name, copy / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
            )
        elif (source / name).exists():
            shutil.copy(source / name, copy / name)
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(wheels)!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=copy, stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """This process's, without what leads to the sources."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PORT", "LOG_LEVEL")}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@asynccontextmanager
async def serving(liveman: Path, config: Path) -> AsyncIterator[str]:
    """The installed `liveman`, serving; its URL."""
    process = await asyncio.create_subprocess_exec(
        liveman, "-c", config, cwd=config.parent, env=environment(), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    said = ""
    try:
        async with asyncio.timeout(30):
            while not (found := re.search(r"liveman serves url=(\S+)", said)):
                line = await process.stderr.readline()
                assert line, f"liveman has ended: {said}"
                said += line.decode()
        # Later lines must not fill the pipe.
        rest = asyncio.create_task(process.stderr.read())
        yield found[1]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    said += (await rest).decode()
    assert "the-auth-token" not in said
    assert "the-secret-key" not in said


def vendor(asked: Asked) -> Answer:
    """Twilio, Metered and the template's example.org in one; each request gets credentials of its own."""
    kind, number = asked.path.split("/")[1], next(NUMBERS)
    turn = {"urls": f"turn:{kind}.example", "username": f"user-{number}", "credential": f"pass-{number}"}
    if kind == "2010-04-01":
        turn["urls"] = "turn:twilio.example"
        return Answer(201, json={"ttl": "3600", "ice_servers": [turn]})
    if kind == "credentials":
        turn["urls"] = "turn:template.example"
        return Answer(json={"ttl": 3600, "iceServers": [turn]})
    if asked.method == "POST":
        return Answer(json={"expiryInSeconds": 3600, "apiKey": "the-api-key"})
    turn["urls"] = "turn:metered.example"
    return Answer(json=[turn])


NUMBERS = iter(range(10**9))


def config_file(folder: Path, node: str, url: str) -> Path:
    path = folder / "liveman.toml"
    path.write_text(f"""
[http]
listen = "127.0.0.1:0"
[database]
url = "sqlite::memory:"
[[nodes]]
alias = "a"
url = "{node}"
[extra_ice]
timeout_ms = 10000
[extra_ice.twilio]
account_sid = "{SID}"
auth_token = "the-auth-token"
api_base = "{url}"
[extra_ice.metered]
app_name = "example"
secret_key = "the-secret-key"
api_base = "{url}"
[extra_ice.example]
api_key = "the-api-key"
api_base = "{url}"
""")
    return path


async def offered(client: ClientSession, stream: str) -> dict[str, tuple[str, str]]:
    """Username and credential of each TURN url in the 201 of an offer."""
    headers = {"Content-Type": "application/sdp"}
    async with client.post(f"/whip/{stream}", data=OFFER, headers=headers) as response:
        assert response.status == 201, await response.text()
        links = response.headers.getall("Link")
    form = r'<([^>]+)>; rel="?ice-server"?; username="([^"]+)"; credential="([^"]+)"'
    matches = [match for link in links if (match := re.match(form, link))]
    return {match[1]: (match[2], match[3]) for match in matches}


async def test_an_offer_is_served_through_installed_plugins(installed: Path, tmp_path: Path) -> None:
    """The 201's links hold the vendors' credentials, others for each session; no secret is logged."""
    node: RawNode
    async with raw_node() as node:
        with FakeVendor(vendor) as double:
            config = config_file(tmp_path, node.url, double.url)
            async with serving(installed / "liveman", config) as url, ClientSession(url) as client:
                first, second = await offered(client, "one"), await offered(client, "two")
    assert list(first) == ["turn:twilio.example", "turn:metered.example", "turn:template.example"]
    for turn, (username, credential) in first.items():
        assert credential == username.replace("user", "pass")
        assert second[turn] != first[turn]


def test_check_shows_their_options_without_secrets(installed: Path, tmp_path: Path) -> None:
    config = config_file(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:2")
    said = run(installed / "liveman", "check", "-c", config, cwd=tmp_path)
    assert 'app_name = "example"' in said
    assert "the-auth-token" not in said
    assert "the-secret-key" not in said


def test_check_tells_their_faults_with_the_path(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "liveman.toml"
    config.write_text(
        '[extra_ice.metered]\nsecret_key = "the-secret-key"\n[extra_ice.twilio]\naccount_sid = "x"'
    )
    done = subprocess.run(
        [installed / "liveman", "check", "-c", config], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "extra_ice.metered.app_name: is missing" in done.stderr
    assert "extra_ice.twilio.account_sid: must be AC" in done.stderr


def test_the_template_passes_its_own_test(installed: Path) -> None:
    """Against the installed Liveman, as its author would run it."""
    run(
        installed / "python",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        TEMPLATE / "tests",
        cwd=installed,
    )


def test_the_template_is_under_30_lines() -> None:
    (provider,) = TEMPLATE.glob("src/*.py")
    assert len(provider.read_text().splitlines()) < 30


SOURCES = [path for folder in (*PLUGINS, TEMPLATE) for path in sorted(folder.glob("src/**/*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_plugin_imports_of_liveman_the_ice_room_alone(path: Path) -> None:
    own = path.relative_to(ROOT).parts[3].removesuffix(".py")
    for statement in ast.walk(ast.parse(path.read_text())):
        names: list[Any] = []
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = [statement.module]
        for name in names:
            known = name == "liveman.ice" or name.partition(".")[0] in (
                own,
                "attrs",
                *sys.stdlib_module_names,
            )
            assert known, f"{name} is imported"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_is_a_whole_distribution(folder: Path) -> None:
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "tests"):
        assert (folder / name).exists(), name
    assert "license = MPL-2.0" in (folder / "setup.cfg").read_text()
    table = folder.name.removeprefix("liveman-ice-")
    assert f"[extra_ice.{table}]" in (folder / "README.md").read_text()


def test_the_authors_page_names_all_that_authors_may_import() -> None:
    page = (ROOT / "docs" / "ice-providers.md").read_text()
    for name in (*ice.__all__, "check_provider", "FakeVendor", "Answer"):
        assert name in page, name
