"""What the benchmarks put together: stub nodes, a bare proxy, Liveman, and a load; all on the loopback."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

HERE = Path(__file__).parent
PORTS = range(13_000, 30_000)

#: nginx as N nodes at once: every answer is canned, so that what stands in front of it is measured.
NODES_CONF = """
daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/errors crit;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    {listen}
    location ~ ^/(whip|whep)/(?<stream>.+)$ {{
      default_type application/sdp;
      add_header Location /session/$stream/$request_id always;
      add_header Link '<stun:stun.example.org>; rel="ice-server"' always;
      add_header Accept-Patch application/trickle-ice-sdpfrag always;
      return 201 "{answer}";
    }}
    location /session/ {{ return 204; }}
    location = /api/streams/ {{ return 200 '[]'; }}
    location / {{ return 404; }}
  }}
}}
"""
ANSWER = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\n" + "".join(
    f"a=candidate:{i} 1 udp 2130706431 127.0.0.1 {40_000 + i} typ host\\r\\n" for i in range(20)
)


@frozen
class Load:
    """What wrk saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def free_ports(count: int) -> int:
    """The first of so many neighbouring free ports."""
    for first in range(PORTS.start, PORTS.stop - count, count + 7):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return first
            except OSError:
                continue
    raise SystemExit(f"no {count} free ports in a row")


@contextlib.contextmanager
def running(
    argv: Sequence[str], *, url: str, cpu: int | None = None, cwd: str = "."
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, once ``url`` answers; its group is ended at the end."""
    pinned = ["taskset", "-c", str(cpu), *argv] if cpu is not None else list(argv)
    with open(Path(cwd) / "output", "wb") as output:
        process = subprocess.Popen(pinned, cwd=cwd, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(url, process, Path(cwd) / "output")
        yield process
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def stub_nodes(count: int, *, cpu: int) -> Iterator[list[str]]:
    """So many nodes that answer at once; their URLs."""
    first = free_ports(count)
    ports = range(first, first + count)
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        conf = NODES_CONF.format(
            folder=folder,
            user="user root;" if os.geteuid() == 0 else "",
            listen=" ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports),
            answer=ANSWER,
        )
        Path(folder, "nginx.conf").write_text(conf)
        argv = ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"]
        with running(argv, url=f"http://127.0.0.1:{first}/api/streams/", cpu=cpu, cwd=folder):
            yield [f"http://127.0.0.1:{port}" for port in ports]


@contextlib.contextmanager
def floor(nodes: Sequence[str], *, cpu: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The least that an aiohttp proxy does; its URL and process."""
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        argv = [sys.executable, str(HERE / "floor.py"), str(port), *nodes]
        with running(argv, url=f"{url}/api/streams/", cpu=cpu, cwd=folder) as process:
            yield url, process


@contextlib.contextmanager
def liveman(
    nodes: Sequence[str], *, cpu: int | None, extra: str = "", level: str = "error", mode: str = "poll"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Liveman in front of the nodes; its URL and process."""
    port = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    declared = "".join(
        f'[[nodes]]\nalias = "n{i}"\nurl = "{node}"\nmode = "{mode}"\n' for i, node in enumerate(nodes)
    )
    text = f'[http]\nlisten = "127.0.0.1:{port}"\n[log]\nlevel = "{level}"\n{extra}\n{declared}'
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        Path(folder, "liveman.toml").write_text(text)
        argv = [sys.executable, "-m", "liveman", "-c", "liveman.toml"]
        with running(argv, url=f"{url}/readyz", cpu=cpu, cwd=folder) as process:
            yield url, process


def load(url: str, *, seconds: int, connections: int, cpu: int) -> Load:
    """POST an offer, DELETE the session, again and again, by wrk."""
    argv = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10"]
    said = subprocess.run(
        [*argv, "-s", str(HERE / "whip.lua"), url], capture_output=True, text=True, check=False
    ).stdout
    found = dict(re.findall(r"(\w+)=([\d.]+)", said.rpartition("RESULT ")[2]))
    if not found:
        raise SystemExit(f"wrk said nothing of use:\n{said}")
    return Load(
        float(found["rps"]), float(found["p50"]) / 1000, float(found["p99"]) / 1000, int(found["failed"])
    )


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time so far, user and system."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"it ended at once: {output.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}: {output.read_text()}")
