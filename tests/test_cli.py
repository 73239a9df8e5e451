"""The `liveman` command as a user runs it."""

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

LIVEMAN = [sys.executable, "-m", "liveman"]

CONFIG = """
[http]
listen = "127.0.0.1:0"
[database]
url = "sqlite://./liveman.db?mode=rwc"
[[nodes]]
alias = "a"
url = "http://127.0.0.1:1"
token = "token-of-the-node"
"""

TEN_MISTAKES = """
[http]
listen = "nowhere"
cors = "yes"
prot = 1
[log]
level = "loud"
[cluster]
poll_interval_ms = "3000"
[extra_ice]
timeout_ms = -1
[extra_ice.coturn]
secret = 5
[[nodes]]
alias = "a"
url = "ftp://node"
[[nodes]]
alias = "a"
url = "http://node"
[cascade]
mode = "pul"
"""


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PORT", "DATABASE_URL", "LOG_LEVEL")
    }
    return subprocess.run(
        [*LIVEMAN, *arguments], cwd=cwd, env=environment | environ, capture_output=True, text=True, timeout=60
    )


@contextmanager
def running(*arguments: str, cwd: Path):
    """A process of the command in a session of its own; ended by pid if it still runs."""
    process = subprocess.Popen(
        [*LIVEMAN, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line that matches; the test's own time limit ends a wait for nothing."""
    seen = ""
    for line in process.stdout:
        seen += line
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"it ended without {pattern!r}:\n{seen}")


def test_it_serves_what_the_file_says_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "liveman.toml").write_text(CONFIG)
    with running("-c", "liveman.toml", cwd=tmp_path) as process:
        url = read_until(process, r"liveman serves url=(\S+)")[1]
        with urllib.request.urlopen(f"{url}/healthz") as response:
            assert response.read() == b"ok"
        with urllib.request.urlopen(f"{url}/api/nodes/") as response:
            assert b"token-of-the-node" not in response.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (tmp_path / "liveman.db").exists()


def test_it_serves_more_clients_than_the_soft_limit_of_open_files(tmp_path: Path) -> None:
    """That limit is made for other programs; the hard one counts."""
    (tmp_path / "liveman.toml").write_text(CONFIG)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(128, soft), hard))
    try:
        with running("-c", "liveman.toml", cwd=tmp_path) as process, ExitStack() as clients:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            url = read_until(process, r"liveman serves url=(\S+)")[1]
            host, port = url.removeprefix("http://").split(":")
            for _ in range(200):
                clients.enter_context(socket.create_connection((host, int(port))))
            with urllib.request.urlopen(f"{url}/healthz", timeout=10) as response:
                assert response.read() == b"ok"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_check_prints_the_effective_configuration_with_secrets_masked(tmp_path: Path) -> None:
    (tmp_path / "liveman.toml").write_text(
        CONFIG + '[extra_ice.coturn]\nsecret = "very-secret"\nurls = ["stun:a"]\n'
    )
    done = run("check", "-c", "liveman.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "token-of-the-node" not in done.stdout + done.stderr
    assert "very-secret" not in done.stdout + done.stderr
    assert 'alias = "a"' in done.stdout
    assert "***" in done.stdout


def test_a_file_with_ten_mistakes_reports_ten(tmp_path: Path) -> None:
    """Each once, with its path; those of ICE providers among them; serving refuses them all alike."""
    (tmp_path / "liveman.toml").write_text(TEN_MISTAKES)
    checked = run("check", "-c", "liveman.toml", cwd=tmp_path)
    served = run("-c", "liveman.toml", cwd=tmp_path)
    for done in (checked, served):
        assert done.returncode == 1
        faults = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(faults) >= 10, done.stderr
        for path in (
            "http.listen",
            "http.cors",
            "http.prot",
            "log.level",
            "cluster.poll_interval_ms",
            "extra_ice.timeout_ms",
            "extra_ice.coturn.secret",
            "extra_ice.coturn.urls",
            "nodes[0].url",
            "nodes[1].alias",
            "cascade.mode",
        ):
            assert any(line.startswith(f"error: {path}: ") for line in faults), (path, done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-c", "missing.toml"), "missing.toml"),
        (("check", "-c", "missing.toml"), "missing.toml"),
        (("check", "-c", "bad.toml"), "line 2"),
        (("-c", "taken.toml"), "http.listen"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "bad.toml").write_text("[http]\nlisten = = 1\n")
    (tmp_path / "taken.toml").write_text('[http]\nlisten = "192.0.2.254:1"\n')
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in done.stderr


def test_it_says_its_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"liveman, version \d+\.\d+\.\d+\n", run("--version", cwd=tmp_path).stdout)


@pytest.mark.parametrize(("options", "node"), [((), "buildin-2"), (("--net4mqtt",), "edge-2")])
def test_the_demo_decodes_frames_and_ends(tmp_path: Path, options: tuple[str, ...], node: str) -> None:
    done = run("demo", "--once", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"decoded ([1-9]\d+) frames", done.stdout)
    assert node in done.stdout
    assert done.stderr.count("\n") == 1, "but for the warning that there is no authentication"
    assert re.search(r"DASH player: http://\S+/demo/\d{4}/\d\d/\d\d/\d{10}/manifest.mpd\n", done.stdout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "missing", "remedy"),
    [(("demo", "--once"), "aiortc", "liveman[demo]"), (("--uvloop",), "uvloop", "liveman[speed]")],
)
def test_an_extra_that_is_not_installed_is_named(
    tmp_path: Path, arguments: tuple[str, ...], missing: str, remedy: str
) -> None:
    code = (
        f"import importlib.abc, sys\n"
        f"class Away(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}: raise ModuleNotFoundError(name)\n"
        f"import importlib.util; real = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {missing!r} else real(name)\n"
        f"sys.meta_path.insert(0, Away()); sys.argv = ['liveman', *{list(arguments)!r}]\n"
        f"from liveman.cli import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert f"pip install '{remedy}'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGKILL, ()), (signal.SIGKILL, ("--net4mqtt",))],
)
def test_the_demo_leaves_no_process_however_it_ends(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...]
) -> None:
    """Ctrl-C, a polite end, and the hard one."""
    with running("demo", *options, cwd=tmp_path) as process:
        read_until(process, "Ctrl-C ends everything")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 3 + len(options)
        process.send_signal(number)
        code = process.wait(10)
        assert code == (-9 if number == signal.SIGKILL else 0)

        async def gone() -> None:
            async with asyncio.timeout(10):
                while any(Path(f"/proc/{child}").exists() for child in children):
                    await asyncio.sleep(0.05)

        asyncio.run(gone())
