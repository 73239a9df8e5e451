"""What the benchmarks put together: stub nodes, proxies, Liveman, and a load; all on the loopback.

Nodes and load share one CPU, and what is measured has another for itself. Every process is in a group of its
own, which ends with the context that began it, also on Ctrl-C and SIGTERM.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

HERE = Path(__file__).parent
#: Below the ports that the system gives to outgoing connections.
PORTS = range(13_000, 32_000)
#: What is measured runs on the first, all else on the last.
CPUS = sorted(os.sched_getaffinity(0))
#: Debian has nginx where only root looks.
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

NGINX_CONF = """
daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/errors crit;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_http_version 1.1; proxy_set_header Connection '';
  {rest}
}}
"""
#: nginx as N nodes at once: every answer is canned, so that what stands in front of it is measured.
NODES_CONF = """
  server {{
    {listen}
    location ~ ^/(whip|whep)/(?<stream>.+)$ {{
      default_type application/sdp;
      add_header Location /session/$stream/$request_id always;
      add_header Link '<stun:stun.example.org>; rel="ice-server"' always;
      add_header Accept-Patch application/trickle-ice-sdpfrag always;
      return 201 "{answer}";
    }}
    location ~ ^/session/.+/body$ {{ root {root}; try_files /body =404; }}
    location /session/ {{ return 204; }}
    location = /api/streams/ {{ return 200 '[]'; }}
    location = /api/strategy/ {{ return 200 '{{"each_stream_max_sub":65535}}'; }}
    location = /api/info {{ return 200 '{{"version":"stub"}}'; }}
    location = /api/sse/streams {{ proxy_pass {events}; proxy_buffering off; proxy_read_timeout 1d; }}
    location / {{ return 404; }}
  }}
"""
#: nginx as a file server, at its best.
FILES_CONF = """
  sendfile on;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ root {root}; }} }}
"""
PROXY_CONF = """
  upstream nodes {{ {servers} keepalive {kept}; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://nodes; }} }}
"""
ANSWER = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\n" + "".join(
    f"a=candidate:{i} 1 udp 2130706431 127.0.0.1 {40_000 + i} typ host\\r\\n" for i in range(20)
)


@frozen
class Peer:
    """A process that serves."""

    url: str
    pid: int
    """Also the number of its process group."""

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system, of the whole group's first process and its children."""
        ticks = 0
        for pid in _family(self.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory."""
        return self._memory("VmRSS")

    def peak_mb(self) -> float:
        """The most that it has been."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> float:
        sizes = (
            re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            for pid in _family(self.pid)
        )
        return sum(int(size[1]) for size in sizes if size) / 1024

    def stop(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)


@frozen
class Load:
    """What wrk saw."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    requests: int


def parser(text: str | None) -> argparse.ArgumentParser:
    """Takes the benchmark's docstring. SIGTERM ends a benchmark as Ctrl-C does from here on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


@contextlib.contextmanager
def stub_nodes(count: int, *, root: str = "/nowhere") -> Iterator[list[Peer]]:
    """So many nodes that answer at once, with event streams: one process, each at a port of its own.

    ``root``: a folder whose file "body" is what there is at a session's ``/body``."""
    _allow_files(500 + 15 * count)  # At each node: what listens, event streams, kept connections.
    first = _free_ports(count)
    ports = range(first, first + count)
    with _script("events.py", path="/") as events:
        rest = NODES_CONF.format(
            listen=" ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports),
            answer=ANSWER,
            root=root,
            events=events.url,
        )
        with _nginx(rest, first, cpu=CPUS[-1]) as peer:
            yield [Peer(f"http://127.0.0.1:{port}", peer.pid) for port in ports]


@contextlib.contextmanager
def event_node(streams: int) -> Iterator[Peer]:
    """One node whose sessions have event streams, so many in all; see the script for what it does."""
    _allow_files(500 + 2 * streams)  # Liveman has both ends.
    with _script("events.py", path="/") as peer:
        yield peer


@contextlib.contextmanager
def reporting_nodes(sessions: int, bytes: int) -> Iterator[Peer]:
    """Any number of nodes whose lists change every second, each below a path; see the script."""
    with _script("reporters.py", str(sessions), str(bytes), path="/") as peer:
        yield peer


@contextlib.contextmanager
def telling_nodes(count: int, *, streams: int, sessions: int) -> Iterator[list[Peer]]:
    """So many nodes with so many streams each, and sessions of each; see the script for what they do."""
    _allow_files(500 + 2 * count)
    with _script("told.py", str(count), str(streams), str(sessions), path="/") as peer:
        yield [Peer(f"{peer.url}/{node}", peer.pid) for node in range(count)]


@contextlib.contextmanager
def vendor() -> Iterator[Peer]:
    """A vendor of TURN credentials with moods; see the script."""
    with _script("vendor.py", path="/") as peer:
        yield peer


@contextlib.contextmanager
def floor(nodes: Sequence[Peer]) -> Iterator[Peer]:
    """The least that an aiohttp proxy does."""
    with _script("floor.py", *(node.url for node in nodes), cpu=CPUS[0]) as peer:
        yield peer


@contextlib.contextmanager
def nginx(nodes: Sequence[Peer]) -> Iterator[Peer]:
    """What a proxy in C does. It keeps some connections to every node, as the others do."""
    port = _free_ports(1)
    servers = " ".join(f"server {node.url.removeprefix('http://')};" for node in nodes)
    rest = PROXY_CONF.format(servers=servers, port=port, kept=256 + 2 * len(nodes))
    with _nginx(rest, port, cpu=CPUS[0]) as peer:
        yield peer


@contextlib.contextmanager
def files(root: str, *, path: str, measured: bool) -> Iterator[Peer]:
    """What a file server in C does with this folder, which has a file at the path; ``measured``: it has the
    CPU of what is measured."""
    port = _free_ports(1)
    rest = FILES_CONF.format(port=port, root=root)
    with _nginx(rest, port, cpu=CPUS[0] if measured else CPUS[-1], path=path) as peer:
        yield peer


@contextlib.contextmanager
def copier(origin: Peer, *, path: str) -> Iterator[Peer]:
    """The least that copying from a server with aiohttp takes."""
    with _script("copier.py", origin.url, path=path, cpu=CPUS[0]) as peer:
        yield peer


@contextlib.contextmanager
def liveman(
    nodes: Sequence[Peer], *, mode: str = "auto", extra: str = "", level: str = "error", uvloop: bool = False
) -> Iterator[Peer]:
    """Liveman in front of the nodes; ``mode``: how it watches them; ``extra``: more TOML."""
    port = _free_ports(1)
    declared = "".join(
        f'[[nodes]]\nalias = "n{i}"\nurl = "{node.url}"\nmode = "{mode}"\n' for i, node in enumerate(nodes)
    )
    text = f'[http]\nlisten = "127.0.0.1:{port}"\n[log]\nlevel = "{level}"\n{extra}\n{declared}'
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        Path(folder, "liveman.toml").write_text(text)
        argv = [sys.executable, "-m", "liveman", "-c", "liveman.toml", *(["--uvloop"] if uvloop else [])]
        url = f"http://127.0.0.1:{port}"
        with _running(argv, url, _answers(f"{url}/readyz"), cpu=CPUS[0], folder=folder) as peer:
            yield peer


@contextlib.contextmanager
def mosquitto() -> Iterator[Peer]:
    """Debian's MQTT broker as it is, by mqtt."""
    port = _free_ports(1)
    user = "user root\n" if os.geteuid() == 0 else ""

    def accepts() -> None:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()

    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        Path(folder, "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{user}")
        argv = ["mosquitto", "-c", str(Path(folder, "mosquitto.conf"))]
        with _running(argv, f"mqtt://127.0.0.1:{port}", accepts, cpu=CPUS[-1], folder=folder) as peer:
            yield peer


@contextlib.contextmanager
def agent(target: Peer, broker: Peer, *, alias: str) -> Iterator[Peer]:
    """`liveman agent` in front of a node. That it has reached the broker shows in Liveman's list of nodes."""
    options = ["--target", target.url, "--url", broker.url, "--alias", alias]
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        argv = [sys.executable, "-m", "liveman", "agent", *options]
        with _running(argv, broker.url, lambda: None, cpu=CPUS[-1], folder=folder) as peer:
            yield peer


def load(url: str, *, seconds: int, connections: int, token: str = "") -> Load:
    """POST an offer, DELETE the session, again and again, by wrk; ``token``: what it shows with each."""
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10", "-s", str(HERE / "whip.lua")]
    said = subprocess.run(
        _pinned([*wrk, url], CPUS[-1]),
        env={**os.environ, **({"TOKEN": token} if token else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    found = dict(re.findall(r"(\w+)=([\d.]+)", said.rpartition("RESULT ")[2]))
    if not found:
        raise SystemExit(f"wrk said nothing of use:\n{said}")
    return Load(
        per_second=float(found["rps"]),
        p50_ms=float(found["p50"]) / 1000,
        p99_ms=float(found["p99"]) / 1000,
        failed=int(found["failed"]),
        requests=int(found["requests"]),
    )


@contextlib.contextmanager
def _nginx(rest: str, port: int, *, cpu: int, path: str = "/api/streams/") -> Iterator[Peer]:
    user = "user root;" if os.geteuid() == 0 else ""
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(NGINX_CONF.format(folder=folder, user=user, rest=rest))
        argv = ["nginx", "-p", folder, "-c", str(conf)]
        url = f"http://127.0.0.1:{port}"
        with _running(argv, url, _answers(url + path), cpu=cpu, folder=folder) as peer:
            yield peer


@contextlib.contextmanager
def _script(name: str, *arguments: str, path: str = "/api/streams/", cpu: int = CPUS[-1]) -> Iterator[Peer]:
    """One of the scripts beside this one, which gets a port and the arguments."""
    port = _free_ports(1)
    with TemporaryDirectory(prefix="liveman-bench-") as folder:
        argv = [sys.executable, str(HERE / name), str(port), *arguments]
        url = f"http://127.0.0.1:{port}"
        with _running(argv, url, _answers(url + path), cpu=cpu, folder=folder) as peer:
            yield peer


@contextlib.contextmanager
def _running(
    argv: Sequence[str], url: str, ready: Callable[[], None], *, cpu: int, folder: str
) -> Iterator[Peer]:
    """A process that works in this folder, once it is ready, which is when that raises no OSError."""
    output = Path(folder, "output")
    with output.open("wb") as file:
        process = subprocess.Popen(
            _pinned(argv, cpu), cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait(url, ready, process, output)
        yield Peer(url, process.pid)
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _pinned(argv: Sequence[str], cpu: int) -> list[str]:
    command = shutil.which(argv[0], path=SEARCHED)
    if command is None:
        raise SystemExit(f"{argv[0]} is not installed; `make bench` does that.")
    return ["taskset", "-c", str(cpu), command, *argv[1:]]


def _answers(url: str) -> Callable[[], None]:
    return lambda: urllib.request.urlopen(url, timeout=2).close()


def _wait(url: str, ready: Callable[[], None], process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"what should serve {url} has ended:\n{output.read_text()}")
        try:
            ready()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers at {url}:\n{output.read_text()}")


def _allow_files(count: int) -> None:
    """This process and all that it starts may have so many files open; 1024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(
            f"{count} open files are needed, and {hard} allowed: raise the hard limit (ulimit -Hn, as root)."
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _free_ports(count: int) -> int:
    """The first of so many neighbouring free ports."""
    for _ in range(100):
        first = random.choice(PORTS[:-count])
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise SystemExit(f"no {count} free ports in a row")


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        found.extend(map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split()))
    return found
