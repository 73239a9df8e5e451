"""What it costs to say who one is, and what a flood of bogus tokens takes from those who have good ones.

auth.py [--rounds 5] [--seconds 2] [--connections 16]

Liveman without authentication and with a JWT for every request take turns. Then the same good clients go on
while bogus tokens, each another, come at a third of the rate that the good ones had alone. Figures are
medians of the rounds, ratios those within a round. Exits with 1 when good clients keep less than wanted, the
memory grew, or a request failed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import encode
from parts import CPUS, HERE, Load, Peer, liveman, load, parser, stub_nodes
from signalling import stopped

SECRET = "a secret of the thirty-two bytes that are wanted"
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
AUTH = f'[auth]\nsecret = "{SECRET}"\njwt_public_keys = ["""{PEM}"""]\n'
KEPT = 0.6
GROWTH = 3.0
"""MB."""
ROW = "{:<38} {:>7} {:>6} {:>7} {:>7} {:>9} {:>7}"


@frozen
class Seen:
    """One turn."""

    load: Load
    bogus: float = 0.0
    """A second."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=16)
    sys.exit(measure(arguments.parse_args()))


def measure(options: argparse.Namespace) -> int:
    claims = {"id": "*", "exp": int(time.time()) + 86_400, "mode": 7, "jti": "a", "sub": "ada"}
    token = encode(claims, SECRET, "HS256")
    print(ROW.format("what", "req/s", "ratio", "p50 ms", "p99 ms", "bogus/s", "failed"), flush=True)
    with (
        stub_nodes(10) as nodes,
        liveman(nodes, mode="sse") as free,
        liveman(nodes, mode="sse", extra=AUTH) as closed,
    ):
        alone: list[Seen] = []
        open_to_all: list[Seen] = []
        flooded: dict[str, list[Seen]] = {"HS256": [], "ES256": []}
        before = 0.0
        for number in range(options.rounds + 1):
            with stopped([closed]):
                open_to_all.append(turn(free, options))
            with stopped([free]):
                alone.append(turn(closed, options, token))
                for algorithm, turns in flooded.items():
                    rate = alone[-1].load.per_second / 3
                    turns.append(turn(closed, options, token, rate=rate, algorithm=algorithm))
            if number == 0:
                # The first round only fills what there is to fill.
                before = closed.memory_mb()
                for turns in (open_to_all, alone, *flooded.values()):
                    turns.clear()
        grown = closed.memory_mb() - before
    show("no authentication", open_to_all, open_to_all)
    show("a JWT for every request", alone, open_to_all)
    kept = [show(f"the same, and bogus {name} tokens", turns, alone) for name, turns in flooded.items()]
    sent = sum(each.bogus for turns in flooded.values() for each in turns) * (options.seconds + 1)
    print(f"{sent:.0f} bogus tokens, each another: {grown:+.1f} MB")
    print(f"wanted: good clients keep {KEPT} under bogus tokens; less than {GROWTH:g} MB more; 0 failed")
    failed = sum(each.load.failed for turns in (open_to_all, alone, *flooded.values()) for each in turns)
    return 0 if min(kept) >= KEPT and grown < GROWTH and not failed else 1


def turn(
    peer: Peer, options: argparse.Namespace, token: str = "", *, rate: float = 0.0, algorithm: str = ""
) -> Seen:
    """``rate``: of bogus tokens, a second; 0: none."""
    if not rate:
        load(peer.url, seconds=1, connections=options.connections, token=token)
        return Seen(load(peer.url, seconds=options.seconds, connections=options.connections, token=token))
    argv = ["taskset", "-c", str(CPUS[-1]), sys.executable, str(HERE / "flood.py")]
    argv += [peer.url, str(rate), str(options.seconds + 1), algorithm]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as flood:
        time.sleep(0.5)  # Until it is under way.
        seen = load(peer.url, seconds=options.seconds, connections=options.connections, token=token)
        said = json.loads(flood.communicate()[0])
    if said["refused"] != said["sent"]:
        raise SystemExit(f"of {said['sent']} bogus tokens only {said['refused']} were refused")
    return Seen(seen, said["per_second"])


def show(name: str, turns: list[Seen], base: list[Seen]) -> float:
    ratio = statistics.median(
        each.load.per_second / other.load.per_second for each, other in zip(turns, base, strict=True)
    )
    row = ROW.format(
        name,
        f"{statistics.median(each.load.per_second for each in turns):.0f}",
        f"{ratio:.2f}",
        f"{statistics.median(each.load.p50_ms for each in turns):.2f}",
        f"{statistics.median(each.load.p99_ms for each in turns):.2f}",
        f"{statistics.median(each.bogus for each in turns):.0f}",
        sum(each.load.failed for each in turns),
    )
    print(row, flush=True)
    return ratio


if __name__ == "__main__":
    main()
