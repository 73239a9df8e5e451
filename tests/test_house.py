"""Rules of the house: who may import whom, that pure modules are pure, and how long a file may be."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
FILES = sorted(SRC.glob("liveman/**/*.py"))

#: Everyone may import these; they import only each other.
GROUND = {
    "access",
    "audit",
    "breaker",
    "config",
    "config_auth",
    "connection",
    "database_url",
    "errors",
    "forms",
    "forwarded",
    "guard",
    "hosted",
    "inbound",
    "json_body",
    "logs",
    "middleware",
    "paths",
    "plain",
    "secret",
    "settings",
    "strict",
    "tasks",
    "token_key",
}
#: Which other rooms a room may import.
ROOMS: dict[str, set[str]] = {
    "ice": set(),
    "net4mqtt": set(),
    "database": set(),
    "demo": set(),
    "auth": {"database"},
    "cluster": {"database"},
    "proxy": {"cluster", "ice"},
    "recording": {"database", "cluster"},
    "dashboard": {"auth", "cluster", "database", "ice", "net4mqtt", "proxy", "recording"},
}
#: At the top: they may import all, and only those at the top may import them.
TOP = {
    "app",
    "cli",
    "cli_agent",
    "cli_demo",
    "cli_recordings",
    "cli_token",
    "discovery",
    "front",
    "metrics",
    "server",
    "__main__",
    "",
}

PURE = {
    "liveman.access",
    "liveman.breaker",
    "liveman.config",
    "liveman.config_auth",
    "liveman.database_url",
    "liveman.errors",
    "liveman.forms",
    "liveman.inbound",
    "liveman.paths",
    "liveman.plain",
    "liveman.secret",
    "liveman.token_key",
    "liveman.auth.claims",
    "liveman.auth.jws",
    "liveman.auth.limits",
    "liveman.auth.live",
    "liveman.forwarded",
    "liveman.auth.verdict",
    "liveman.ice.server",
    "liveman.ice.link",
    "liveman.ice.rewrite",
    "liveman.cluster.cascade",
    "liveman.cluster.wire",
    "liveman.cluster.node",
    "liveman.cluster.snapshot",
    "liveman.cluster.state",
    "liveman.cluster.health",
    "liveman.cluster.placement",
    "liveman.cluster.decision",
    "liveman.cluster.listing",
    "liveman.cluster.negotiation",
    "liveman.proxy.headers",
    "liveman.proxy.http1",
    "liveman.proxy.routing",
    "liveman.net4mqtt.address",
    "liveman.net4mqtt.socks",
    "liveman.net4mqtt.topic",
    "liveman.net4mqtt.tunnel",
    "liveman.net4mqtt.window",
    "liveman.dashboard.calendar",
    "liveman.dashboard.rows",
    "liveman.dashboard.snippets",
    "liveman.dashboard.tables",
    "liveman.dashboard.tree",
    "liveman.demo.cutting",
    "liveman.demo.manifest",
    "liveman.dashboard.history",
    "liveman.dashboard.problems",
    "liveman.dashboard.words",
    "liveman.recording.playback",
    "liveman.recording.ranges",
    "liveman.recording.schedule",
    "liveman.recording.wire",
}
NOT_PURE = {
    "asyncio",
    "aiohttp",
    "aiosqlite",
    "asyncpg",
    "time",
    "random",
    "secrets",
    "os",
    "uuid",
    "socket",
    "datetime",
}


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(SRC).with_suffix("").parts)
    return name.removesuffix(".__init__")


def place_of(module: str) -> str:
    """The room, or the module of the ground floor or the top, that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, wherever the statement stands."""
    found = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            assert statement.level == 0, f"{path} imports relatively"
            found.add(statement.module)
            if statement.module == "liveman":
                found |= {f"liveman.{alias.name}" for alias in statement.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_module_imports_only_what_its_place_in_the_house_may(path: Path) -> None:
    place = place_of(module_of(path))
    reached = {place_of(name) for name in imports_of(path) if name.startswith("liveman.")}
    if place in TOP:
        return
    if place in GROUND:
        assert reached <= GROUND
    else:
        assert place in ROOMS, f"{place} is no room of the house"
        assert reached <= GROUND | ROOMS[place] | {place}


@pytest.mark.parametrize("path", [p for p in FILES if module_of(p) in PURE], ids=module_of)
def test_a_pure_module_has_no_io_no_clock_and_no_randomness(path: Path) -> None:
    imported = imports_of(path)
    assert not {name.partition(".")[0] for name in imported} & NOT_PURE
    impure = {
        name for name in imported if name.startswith("liveman.") and name.count(".") > 1 and name not in PURE
    }
    assert not impure


def test_every_pure_module_is_there() -> None:
    assert {module_of(path) for path in FILES} >= PURE


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
