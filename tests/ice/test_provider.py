"""The tables of ``[extra_ice]`` become providers, or faults that say where and what to do."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liveman import ice
from liveman.errors import ConfigError
from liveman.ice import IceLease, IceRequest, IceServer, Secret
from liveman.ice.coturn import Coturn
from liveman.ice.installed import Installed, installed
from liveman.ice.provider import describe, explain, faults, load
from liveman.ice.static import Static

SECRET = "s3cret-value"
REQUEST = IceRequest("publish", "cam")

STATIC = [{"urls": ["stun:a", "stun:b"]}, {"urls": ["turn:c"], "username": "u", "credential": SECRET}]
COTURN = {"secret": SECRET, "urls": ["stun:d", "turn:d"], "ttl": 60}
CLOUDFLARE = {"key_id": "key", "api_token": SECRET, "ttl": 60}
WHOLE = {"ice_servers": STATIC, "coturn": COTURN, "cloudflare": CLOUDFLARE}

FAULTY: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"ice_servers": "stun:a"}, [("extra_ice.ice_servers", "must be a list")]),
    ({"ice_servers": {"urls": []}}, [("extra_ice.ice_servers", "must be a list")]),
    ({"ice_servers": ["stun:a"]}, [("extra_ice.ice_servers[0]", "must be a table")]),
    ({"ice_servers": [{}]}, [("extra_ice.ice_servers[0].urls", "is missing")]),
    ({"ice_servers": [{"urls": "stun:a"}]}, [("extra_ice.ice_servers[0].urls", "must be a list")]),
    ({"ice_servers": [{"urls": []}]}, [("extra_ice.ice_servers[0]", "at least one url")]),
    (
        {"ice_servers": [{"urls": ["stun:a"]}, {"urls": ["stun:a", "stun://b", 5]}]},
        [("extra_ice.ice_servers[1].urls[1]", "ICE url"), ("extra_ice.ice_servers[1].urls[2]", "text")],
    ),
    ({"ice_servers": [{"urls": ["turn:a"]}]}, [("extra_ice.ice_servers[0]", "need a username")]),
    (
        {"ice_servers": [{"urls": ["turn:a"], "username": "u\r\n", "credential": f"{SECRET}\n"}]},
        [
            ("extra_ice.ice_servers[0].username", "printable ASCII"),
            ("extra_ice.ice_servers[0].credential", "printable ASCII"),
        ],
    ),
    (
        {"ice_servers": [{"urls": ["stun:a"], "url": "stun:b"}]},
        [("extra_ice.ice_servers[0].url", 'did you mean "urls"?')],
    ),
    ({"coturn": SECRET}, [("extra_ice.coturn", "must be a table")]),
    ({"coturn": {}}, [("extra_ice.coturn.secret", "missing"), ("extra_ice.coturn.urls", "missing")]),
    ({"coturn": {**COTURN, "secret": ""}}, [("extra_ice.coturn.secret", "must not be empty")]),
    ({"coturn": {**COTURN, "secret": 5}}, [("extra_ice.coturn.secret", "text")]),
    ({"coturn": {**COTURN, "urls": []}}, [("extra_ice.coturn", "at least one url")]),
    ({"coturn": {**COTURN, "urls": ["turn:a", "x"]}}, [("extra_ice.coturn.urls[1]", "ICE url")]),
    ({"coturn": {**COTURN, "ttl": "60"}}, [("extra_ice.coturn.ttl", "whole number")]),
    ({"coturn": {**COTURN, "ttl": 60.0}}, [("extra_ice.coturn.ttl", "whole number")]),
    ({"coturn": {**COTURN, "ttl": True}}, [("extra_ice.coturn.ttl", "whole number")]),
    ({"coturn": {**COTURN, "ttl": 0}}, [("extra_ice.coturn.ttl", "from 1")]),
    ({"coturn": {**COTURN, "tll": 60}}, [("extra_ice.coturn.tll", 'did you mean "ttl"?')]),
    ({"cloudflare": {**CLOUDFLARE, "key_id": "../x"}}, [("extra_ice.cloudflare.key_id", "letters")]),
    ({"cloudflare": {"key_id": "key"}}, [("extra_ice.cloudflare", "api_token is missing")]),
    (
        {"cloudflare": {**CLOUDFLARE, "api_token": f"{SECRET}\r\nX: y"}},
        [("extra_ice.cloudflare.api_token", "ASCII")],
    ),
    ({"cloudflare": {**CLOUDFLARE, "ttl": 172_801}}, [("extra_ice.cloudflare.ttl", "172800")]),
    ({"cloudflare": {**CLOUDFLARE, "ttl": -1}}, [("extra_ice.cloudflare.ttl", "from 1")]),
    ({"cloudflare": {**CLOUDFLARE, "api_base": "x"}}, [("extra_ice.cloudflare.api_base", "URL")]),
    ({"cloudflare": {**CLOUDFLARE, "api_base": "http://h/?x"}}, [("extra_ice.cloudflare.api_base", "query")]),
    (
        {"cloudflair": {"api_token": SECRET}},
        [("extra_ice.cloudflair", 'did you mean "cloudflare"? Installed are cloudflare, coturn, static')],
    ),
    ({"a b": {}}, [('extra_ice."a b"', "no ICE provider of this name is installed; Installed are")]),
]


@pytest.mark.parametrize(("table", "expected"), FAULTY)
def test_faults_name_the_path_and_the_remedy(table: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = faults(table)
    assert [fault.path for fault in found] == [path for path, _ in expected]
    for fault, (_, problem) in zip(found, expected, strict=True):
        assert problem in fault.problem
        assert SECRET not in str(fault)
    for refuse in (load, describe):
        with pytest.raises(ConfigError) as raised:
            refuse(table)
        assert list(raised.value.faults) == found


async def test_several_instances_of_one_provider_have_a_name_each() -> None:
    """The key `provider` names the provider; the table's own name is what logs and paths show."""
    table = {
        "eu": {**COTURN, "provider": "coturn"},
        "us": {**COTURN, "provider": "coturn", "urls": ["turn:us"]},
        "backup": {"provider": "static", "ice_servers": [{"urls": ["stun:b"]}]},
        "coturn": COTURN,
    }
    assert faults(table) == []
    providers = load(table)
    assert list(providers) == ["eu", "us", "backup", "coturn"]
    assert (await providers["us"].lease(REQUEST)).servers[0].urls == ("turn:us",)
    assert (await providers["backup"].lease(REQUEST)).servers == (IceServer(("stun:b",)),)
    described = describe(table)
    assert [options.get("provider") for options in described.values()] == ["coturn", "coturn", "static", None]
    assert SECRET not in str(described)


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ({"provider": "cotrun"}, "extra_ice.eu.provider", 'did you mean "coturn"?'),
        ({"provider": 5}, "extra_ice.eu.provider", "must be the name of an ICE provider"),
        ({"provider": ["coturn"]}, "extra_ice.eu.provider", "must be the name of an ICE provider"),
        ({**COTURN, "provider": "coturn", "tll": 1}, "extra_ice.eu.tll", 'did you mean "ttl"?'),
        ({**COTURN, "secret": []}, "extra_ice.coturn.secret", "a list of two"),
        ({**COTURN, "secret": ["a", "b", "c"]}, "extra_ice.coturn.secret", "a list of two"),
        ({**COTURN, "secret": ["a", ""]}, "extra_ice.coturn.secret[1]", "must not be empty"),
        ({**COTURN, "secret": [5]}, "extra_ice.coturn.secret[0]", "text"),
        ({**COTURN, "user_suffix": "stream"}, "extra_ice.coturn.user_suffix", "subject"),
    ],
)
def test_mistakes_of_an_instance_name_its_path(value: dict[str, Any], path: str, problem: str) -> None:
    (fault,) = faults({path.split(".")[1]: value})
    assert fault.path == path
    assert problem in fault.problem


def test_all_faults_of_all_tables_are_told_at_once() -> None:
    table = {"ice_servers": [{}, 5], "coturn": {"ttl": "1", "x": 1}, "nobody": {}, "cloudflare": {"ttl": 0}}
    assert [fault.path for fault in faults(table)] == [
        "extra_ice.ice_servers[0].urls",
        "extra_ice.ice_servers[1]",
        "extra_ice.coturn.secret",
        "extra_ice.coturn.urls",
        "extra_ice.coturn.ttl",
        "extra_ice.coturn.x",
        "extra_ice.nobody",
        "extra_ice.cloudflare.ttl",
    ]


async def test_tables_become_providers_in_the_order_of_the_configuration() -> None:
    assert faults(WHOLE) == []
    assert list(load(WHOLE)) == ["ice_servers", "coturn", "cloudflare"]
    providers = load({"coturn": COTURN, "ice_servers": STATIC})
    assert list(providers) == ["coturn", "ice_servers"]
    assert isinstance(providers["coturn"], Coturn)
    assert isinstance(providers["ice_servers"], Static)
    lease = await providers["ice_servers"].lease(REQUEST)
    assert lease.servers == (IceServer(("stun:a", "stun:b")), IceServer(("turn:c",), "u", Secret(SECRET)))
    assert lease.expires_at is None


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"ice_servers": []},
        {"cloudflare": {}},
        {"cloudflare": {"key_id": "", "api_token": "", "ttl": 3600}},
        {"cloudflare": {"key_id": "", "api_token": SECRET}},
    ],
)
def test_what_is_not_filled_in_is_not_used(table: dict[str, Any]) -> None:
    assert faults(table) == []
    assert load(table) == {}


def test_the_description_masks_every_secret() -> None:
    described = describe(WHOLE)
    assert described == {
        "ice_servers": [
            {"urls": ["stun:a", "stun:b"], "username": "", "credential": ""},
            {"urls": ["turn:c"], "username": "u", "credential": "***"},
        ],
        "coturn": {"secret": "***", "urls": ["stun:d", "turn:d"], "ttl": 60, "user_suffix": ""},
        "cloudflare": {
            "key_id": "key",
            "api_token": "***",
            "ttl": 60,
            "custom_identifier": "",
            "api_base": "https://rtc.live.cloudflare.com",
        },
    }


# Providers of other distributions.

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one provider on the path, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, source: str, *, distribution: str = "acme-ice", attribute: str = "Acme") -> None:
        module = f"{distribution.replace('-', '_')}_module"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[liveman.ice]\n{name} = {module}:{attribute}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()

    return install


ACME = """
from typing import Annotated
from attrs import frozen
from liveman.ice import IceLease, IceProvider, IceRequest, IceServer, ProviderError, Secret

def known_region(text: str) -> str:
    if text not in ("eu", "us"):
        raise ValueError("must be eu or us")
    return text

class Acme:
    @frozen
    class Options:
        app_name: str
        key: Secret
        region: Annotated[str, known_region] = "eu"
        factor: float = 1.5
        tls: bool = False
        hosts: tuple[str, ...] = ("turn.example.org",)
        note: str | None = None

    def __init__(self, options: Options) -> None:
        self.options = options

    async def lease(self, request: IceRequest) -> IceLease:
        urls = [f"turn:{host}" for host in self.options.hosts]
        return IceLease([IceServer(urls, request.stream, self.options.key)], expires_at=5)
"""


async def test_a_third_partys_provider_is_found_by_its_entry_point(install: Install) -> None:
    """Installed and named in the configuration is all that it takes."""
    install("acme", ACME)
    table = {"acme": {"app_name": "x", "key": SECRET, "factor": 2}, "coturn": COTURN}
    assert faults(table) == []
    lease = await load(table)["acme"].lease(REQUEST)
    assert lease == IceLease([IceServer(("turn:turn.example.org",), "cam", Secret(SECRET))], 5)
    assert describe(table)["acme"] == {
        "app_name": "x",
        "key": "***",
        "region": "eu",
        "factor": 2.0,
        "tls": False,
        "hosts": ["turn.example.org"],
    }


def test_a_third_partys_options_are_as_strict_as_ours(install: Install) -> None:
    install("acme", ACME)
    table = {
        "acme": {
            "key": 5,
            "region": "mars",
            "factor": "2",
            "tls": "false",
            "hosts": "a",
            "regoin": "x",
            "note": 1,
        }
    }
    assert {
        fault.path.removeprefix("extra_ice.acme."): fault.problem.split(";")[0] for fault in faults(table)
    } == {
        "app_name": "is missing",
        "key": 'must be a text in quotes, such as "…"',
        "region": "must be eu or us",
        "factor": "must be a number, without quotes",
        "tls": "must be true or false, without quotes",
        "hosts": "must be a list",
        "regoin": "is no known key",
        "note": 'must be a text in quotes, such as "…"',
    }


def test_an_unknown_name_lists_what_is_installed(install: Install) -> None:
    install("acme", ACME)
    (fault,) = faults({"acne": {}})
    assert fault.problem.endswith('did you mean "acme"? Installed are acme, cloudflare, coturn, static')


def test_a_provider_that_is_not_named_is_not_imported(install: Install) -> None:
    install("acme", "raise SystemExit('imported')")
    assert faults(WHOLE) == []
    assert len(load(WHOLE)) == 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module", "cannot be loaded from acme-ice: ModuleNotFoundError"),
        ("1 / 0", "cannot be loaded from acme-ice: ZeroDivisionError"),
        ("", "cannot be loaded from acme-ice: AttributeError"),
        ("Acme = 5", "acme_ice_module:Acme of acme-ice is no ICE provider"),
        ("class Acme: pass", "is no ICE provider: it needs attrs Options and lease()"),
        (ACME.replace("@frozen", ""), "is no ICE provider"),
        (ACME.replace("lease", "rent"), "is no ICE provider"),
        (ACME.replace("note: str | None", "note: object()"), "its Options cannot be read"),
    ],
)
def test_a_provider_that_is_broken_is_a_fault(install: Install, source: str, problem: str) -> None:
    install("acme", source)
    (fault,) = faults({"acme": {"app_name": "x", "key": SECRET, "note": "y"}})
    assert fault.path == "extra_ice.acme"
    assert problem in fault.problem
    assert SECRET not in fault.problem


def test_a_provider_that_cannot_be_made_is_a_fault_without_its_secrets(install: Install) -> None:
    install("acme", ACME.replace("self.options = options", "raise RuntimeError(options.key.reveal())"))
    with pytest.raises(
        ConfigError, match=r"extra_ice\.acme: cannot be set up: RuntimeError in acme_ice_module"
    ) as raised:
        load({"acme": {"app_name": "x", "key": SECRET}})
    assert SECRET not in str(raised.value)


def test_what_is_installed_is_listed_with_what_is_wrong(install: Install) -> None:
    """Also what cannot be loaded, and what two distributions claim."""
    install("acme", ACME)
    install("zz-broken", "raise SystemExit('no')", distribution="zz-ice")
    found = {each.name: each for each in installed()}
    assert list(found) == sorted(found)
    assert found["acme"] == Installed("acme", "acme-ice", "1.0", "acme_ice_module:Acme", "")
    assert found["coturn"].distribution == "liveman"
    assert "cannot be loaded from zz-ice: SystemExit" in found["zz-broken"].problem
    install("acme", ACME, distribution="other-ice")
    claimed = [each for each in installed() if each.name == "acme"]
    assert [each.distribution for each in claimed] == ["acme-ice", "other-ice"]
    assert all("uninstall all of them but one" in each.problem for each in claimed)


def test_two_providers_of_one_name_are_a_fault(install: Install) -> None:
    """Which of them gets the secrets must not depend on the order of a path."""
    install("acme", ACME)
    install("acme", ACME, distribution="other-ice")
    (fault,) = faults({"acme": {}})
    assert "is a provider of acme-ice, other-ice" in fault.problem


def test_an_error_is_explained_without_what_a_library_wrote_into_it() -> None:
    try:
        raise ValueError(f"https://vendor.example/?secretKey={SECRET}")
    except ValueError as error:
        text = explain(error)
    assert text.startswith("ValueError in test_provider.py:")
    assert explain(ice.ProviderError("the vendor is away")) == "the vendor is away"


def test_leases_hold_servers_alone() -> None:
    rubbish: list[Any] = [None, 5, "stun:a", [None], ["stun:a"], [{"urls": "stun:a"}]]
    for servers in rubbish:
        with pytest.raises(TypeError):
            IceLease(servers)
    with pytest.raises(TypeError):
        IceLease((), "tomorrow")  # type: ignore[arg-type]


def test_authors_find_all_they_need_in_one_place() -> None:
    assert {"IceLease", "IceProvider", "IceRequest", "IceServer", "ProviderError", "Secret"} < {*ice.__all__}
    assert ice.__all__ == sorted(ice.__all__)
    assert all(hasattr(ice, name) for name in ice.__all__)
