"""The configuration: which values each key takes, where a fault is said to be, and what stays secret."""

import ast
import inspect
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from liveman import config as config_module
from liveman import load_config, settings
from liveman.config import Config, FsStorage, OssStorage, S3Storage, Secret
from liveman.errors import ConfigError, Fault
from liveman.settings import describe, find_file, read, structure


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file and an environment. Raises ConfigError with all faults."""
    config, faults, _ = structure(read(find_file(path), environ))
    if config is None:
        raise ConfigError(*faults)
    return config


DATA = Path(__file__).parent / "data"
DOCS = Path(__file__).parent.parent / "docs"

NODE = {"alias": "a", "url": "http://node"}
#: RFC 8037, appendix A.2.
JWK = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
ISSUER = {"jwt_public_keys": [JWK], "issuer": "i", "audience": "a"}
ACCOUNT = {"username": "a", "password": "b"}
WEBHOOK = {"url": "http://access", "secret": "s"}
HASH = "$argon2id$v=19$m=8,t=1,p=1$IzESIrPwYzp49ZiYPzLdDA$kmzkZrNB/eQ0RtbwuPFDow"
NUMBERS = ["5", 5.0, True, None, [5], {}]
FLAGS = ["true", "false", 1, 0, [], {}]
TEXTS = [5, True, ["x"], {}]

# Each key: where it stands, values that are taken, values that are refused.
KEYS: list[tuple[str, list[Any], list[Any]]] = [
    ("http.listen", ["[::]:8888", "127.0.0.1:0"], [*TEXTS, "", "8888", ":8888", "a:99999"]),
    ("http.public", ["", "https://live.example.org/prefix"], [*TEXTS, "live.example.org", "http://a?b"]),
    ("http.cors", [True, False, [], ["https://example.org"]], ["true", 1, "https://example.org", {}]),
    ("http.cors[0]", ["https://example.org"], [5, True, "*", "https://example.org/"]),
    ("http.trusted_proxies", [[], ["10.0.0.0/8", "::1"]], ["10.0.0.0/8", {}]),
    ("http.trusted_proxies[0]", ["10.0.0.0/8"], [5, "", "10.0.0.1/8", "all"]),
    ("auth.secret", ["", "x"], TEXTS),
    ("auth.tokens", [[], ["a"]], ["a", {}, 5]),
    ("auth.tokens[0]", ["a"], [5, "", "a b", "a\nb"]),
    ("auth.accounts", [[]], [{}, {"username": "a"}, "a"]),
    ("auth.accounts[0].username", ["a"], [*TEXTS, ""]),
    ("auth.jwt_public_keys", [[], [JWK]], [JWK, {}, 5]),
    ("auth.jwt_public_keys[0]", [JWK], [5, "", "a", "{", JWK.replace("OKP", "oct")]),
    (
        "auth.jwks_url",
        ["", "https://id.example.org/keys?p=live", "http://keycloak:8080/certs"],
        [*TEXTS, "id.example.org", "ftp://a", "https://u:p@a", "https://a#b"],
    ),
    ("auth.issuer", ["", "https://id.example.org/"], TEXTS),
    ("auth.audience", ["", "liveman"], TEXTS),
    ("auth.claims", [{}, {"stream": "room"}], ["room", [], 5]),
    ("auth.claims.stream", ["room"], [*TEXTS, ""]),
    ("auth.claims.mode", ["realm_access.roles"], [*TEXTS, ""]),
    ("auth.claims.subject", ["email"], [*TEXTS, ""]),
    (
        "auth.accounts[0].password",
        ["a", "$ecret$", "a" * 1024, HASH],
        [*TEXTS, "", "a" * 1025, "$2b$12$abcdefghijklmnopqrstuv", HASH[:-1], HASH.replace("id", "i")],
    ),
    (
        "auth.webhook.url",
        ["http://a/b/?c=d", "https://[::1]:1/"],
        [*TEXTS, "a/b", "http://a#b", "http://u:p@a"],
    ),
    ("auth.webhook.secret", ["x"], TEXTS),
    ("auth.webhook.timeout_ms", [1, 60_000], [*NUMBERS, 0, 60_001]),
    ("auth.webhook.on_failure", ["deny", "allow", "stale"], [*TEXTS, "", "denied"]),
    ("auth.rate_limits.address_per_minute", [0, 600], [*NUMBERS, -1]),
    ("auth.rate_limits.subject_per_minute", [0, 600], [*NUMBERS, -1]),
    ("auth.quotas.subscribers_per_stream", [0, 10], [*NUMBERS, -1]),
    ("auth.quotas.publishers_per_subject", [0, 10], [*NUMBERS, -1]),
    ("auth.quotas.subscribers_per_subject", [0, 10], [*NUMBERS, -1]),
    ("log.level", ["off", "error", "warn", "info", "debug", "trace"], [*TEXTS, "", "INFO", "warning"]),
    ("extra_ice.override_upstream_ice_servers", [True, False], FLAGS),
    ("extra_ice.timeout_ms", [1, 60_000], [*NUMBERS, 0, -1, 60_001]),
    ("extra_ice.max_urls", [0, 1000], [*NUMBERS, -1, 1001]),
    ("extra_ice.min_life", [1, 86_400], [*NUMBERS, 0, -1, 86_401]),
    ("extra_ice.ice_servers", [[], [{"urls": ["stun:a"]}]], ["stun:a", {"urls": ["stun:a"]}]),
    ("cascade.mode", ["push", "pull"], [*TEXTS, "", "pusj"]),
    ("cascade.check_attempts", [1, 60], [*NUMBERS, 0]),
    ("cascade.check_tick_time", [1, 60_000], [*NUMBERS, 0]),
    ("cascade.maximum_idle_time", [0, 60_000], [*NUMBERS, -1]),
    ("cascade.close_other_sub", [True, False], FLAGS),
    ("net4mqtt.mqtt_url", ["", "mqtt://u:p@h:1883/p?client_id={alias}"], [*TEXTS, "h:1883", "http://h"]),
    ("net4mqtt.alias", ["", "liveman-0"], [*TEXTS, "a/b", "+"]),
    ("net4mqtt.listen", ["", "0.0.0.0:1077"], [*TEXTS, "1077"]),
    ("net4mqtt.domain", ["net4mqtt.local"], [*TEXTS, "", "a b"]),
    ("metrics.public", [True, False], FLAGS),
    ("net4mqtt.token", ["", "a"], [*TEXTS, "a b"]),
    ("net4mqtt.ca", ["", "ca.pem"], TEXTS),
    ("net4mqtt.certificate", ["", "liveman.pem"], TEXTS),
    ("net4mqtt.key", ["", "liveman.key"], TEXTS),
    (
        "database.url",
        ["sqlite::memory:", "postgresql://u:p@h/d"],
        [*TEXTS, "", "mysql://h", "sqlite://a?mode=x"],
    ),
    ("database.max_connections", [1, 1000], [*NUMBERS, 0, 1001]),
    ("database.connect_timeout", [1, 3600], [*NUMBERS, 0, 3601]),
    ("recorder.storage", [{}, {"type": "fs"}, {"type": "s3", "bucket": "b"}], ["fs", [], 5]),
    ("recorder.storage.type", ["fs"], [*TEXTS, "", "s4"]),
    ("recorder.storage.root", ["./storage"], [*TEXTS, ""]),
    ("auto_record.enabled", [True, False], FLAGS),
    ("auto_record.auto_streams", [[], ["*", "live-?"]], ["*", {}]),
    ("auto_record.auto_streams[0]", ["*"], [5, ""]),
    ("auto_record.base_prefix", ["", "archive"], TEXTS),
    ("auto_record.tick_ms", [1], [*NUMBERS, 0]),
    ("auto_record.max_recording_seconds", [0, 86_400], [*NUMBERS, -1]),
    ("record_sync.enabled", [True, False], FLAGS),
    ("record_sync.tick_ms", [1], [*NUMBERS, 0]),
    ("record_sync.limit", [1, 10_000], [*NUMBERS, 0, 10_001]),
    ("playback.signed_redirect", [True, False], FLAGS),
    ("playback.signed_ttl_seconds", [1, 604_800], [*NUMBERS, 0, 604_801]),
    ("retention.max_age_days", [0, 30, 36_500], [*NUMBERS, -1, 36_501]),
    ("retention.max_bytes", [0, 2**40], [*NUMBERS, -1]),
    ("retention.streams", [[], ["cam-*"]], ["*", {}, 5]),
    ("retention.streams[0]", ["cam-*"], [5, ""]),
    ("cluster.poll_interval_ms", [10, 3000], [*NUMBERS, 9]),
    ("cluster.max_depth", [1, 100], [*NUMBERS, 0, 101]),
    ("cluster.placement_timeout_ms", [0, 60_000], [*NUMBERS, -1, 60_001]),
    ("nodes", [[], [NODE]], [NODE, "http://node"]),
    ("nodes[0].alias", ["a", "Nœud 1"], [*TEXTS, "", "a/b", "..", "a?b"]),
    (
        "nodes[0].url",
        ["http://node", "https://[::1]:7777/p"],
        [*TEXTS, "", "node", "ftp://n", "http://u:p@n"],
    ),
    ("nodes[0].token", ["", "a"], [*TEXTS, "a b", "a\r\nb"]),
    ("nodes[0].mode", ["auto", "sse", "poll"], [*TEXTS, "", "push"]),
    ("nodes[0].pub_max", [0, 65_535], [*NUMBERS, -1, 65_536]),
    ("nodes[0].sub_max", [0, 65_535], [*NUMBERS, -1, 65_536]),
    ("liveion.count", [0, 3], [*NUMBERS, -1, 101]),
    ("liveion.address", ["127.0.0.1:0", "0.0.0.0:0"], [*TEXTS, "", "127.0.0.1"]),
    ("liveion.pub_max", [0, 65_535], [*NUMBERS, -1, 65_536]),
    ("liveion.sub_max", [0, 65_535], [*NUMBERS, -1, 65_536]),
]
for _type in ("s3", "oss"):
    for _field in attrs.fields(S3Storage if _type == "s3" else OssStorage):
        _path = f"recorder.storage.{_field.name} ({_type})"
        if _field.type is bool:
            KEYS.append((_path, [True, False], FLAGS))
        elif _field.name != "type":
            KEYS.append((_path, ["x"], [*TEXTS, ""] if _field.default is attrs.NOTHING else TEXTS))

#: What must stand there already so that the key alone decides.
BESIDE: dict[str, dict[str, Any]] = {
    "auth.jwks_url": {"auth": ISSUER},
    "auth.issuer": {"auth": ISSUER},
    "auth.audience": {"auth": ISSUER},
    "auth.claims": {"auth": ISSUER},
    "auth.accounts[0].": {"auth": {"accounts": [ACCOUNT]}},
    "auth.webhook.": {"auth": {"webhook": WEBHOOK}},
    "nodes[0].": {"nodes": [NODE]},
    "recorder.storage.": {"recorder": {"storage": {}}},
    "(s3)": {"recorder": {"storage": {"type": "s3", "bucket": "b"}}},
    "(oss)": {"recorder": {"storage": {"type": "oss", "bucket": "b", "endpoint": "e"}}},
}


def document(key: str, value: Any) -> dict[str, Any]:
    """A configuration that holds this key, and what must stand beside it."""
    path, _, kind = key.partition(" ")
    base = BESIDE.get(kind) or next((data for place, data in BESIDE.items() if path.startswith(place)), {})
    place = document = deepcopy(base)
    *parents, last = path.split(".")
    for name in parents:
        name, _, index = name.partition("[")
        place = place.setdefault(name, {})
        place = place[0] if index else place
    name, _, index = last.partition("[")
    place[name] = [value] if index else value
    return document


def faults_of(data: dict[str, Any]) -> list[Fault]:
    config, faults, _ = structure(data)
    assert (config is None) == bool(faults)
    return faults


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values, _ in KEYS for value in values])
def test_a_key_takes_its_values(key: str, value: Any) -> None:
    assert faults_of(document(key, value)) == []


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, _, values in KEYS for value in values])
def test_a_key_refuses_other_values_at_its_own_path(key: str, value: Any) -> None:
    """One wrong value is one fault, at the path that an operator looks for."""
    assert [fault.path for fault in faults_of(document(key, value))] == [key.partition(" ")[0]]


def test_every_key_has_its_row_in_the_table_above() -> None:
    rows = {re.sub(r"\[0\]\.", "[].", key) for key, _, _ in KEYS}
    keys = {key.removesuffix(" (fs)") for key, _ in documented_keys(Config)}
    assert {key for key in keys if ".type (" not in key} <= rows


@pytest.mark.parametrize(
    ("auth", "paths"),
    [
        ({"jwks_url": "https://a", "issuer": "i", "audience": "a"}, []),
        ({"jwks_url": "https://a", "issuer": "i"}, ["auth.audience"]),
        ({"jwks_url": "https://a", "jwt_public_keys": [JWK]}, ["auth.issuer", "auth.audience"]),
        ({"jwt_public_keys": [JWK]}, []),
        ({"secret": "s", "issuer": "i"}, ["auth.issuer"]),
        ({"issuer": "i", "audience": "a"}, ["auth.issuer", "auth.audience"]),
    ],
)
def test_an_issuer_and_its_keys_are_configured_together(auth: dict[str, Any], paths: list[str]) -> None:
    """Keys that serve many customers come with what is ours; an issuer without keys would protect nothing."""
    assert [fault.path for fault in faults_of({"auth": auth})] == paths


@pytest.mark.parametrize(
    "auth",
    [
        {"secret": "s"},
        {"tokens": ["t"]},
        {"accounts": [{"username": "a", "password": "b"}]},
        {"jwt_public_keys": [JWK]},
        {"jwks_url": "https://a", "issuer": "i", "audience": "a"},
    ],
    ids=lambda auth: next(iter(auth)),
)
def test_any_way_to_know_someone_makes_everyone_say_who_they_are(auth: dict[str, Any]) -> None:
    config, _, _ = structure({"auth": auth})
    assert config
    assert config.auth.required
    assert not Config().auth.required


def test_no_configuration_at_all_is_the_defaults() -> None:
    assert structure({}) == (Config(), [], [])


TEN_MISTAKES = """
[http]
listen = 8888
lissten = "0.0.0.0:80"
cors = ["https://example.org/"]

[log]
level = "loud"

[extra_ice]
timeout = 100

[database]
max_connections = "10"

[recorder.storage]
type = "s3"

[[nodes]]
alias = "a"
url = "http://user:topsecret@node"

[[nodes]]
alias = "a"
url = "http://other"
pub_max = -1
"""


def test_ten_mistakes_are_ten_faults(tmp_path: Path) -> None:
    """Nobody has to start ten times: all faults come at once, each with its path and what to do."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, TEN_MISTAKES), {})
    assert {fault.path for fault in caught.value.faults} == {
        "http.listen",
        "http.lissten",
        "http.cors[0]",
        "log.level",
        "extra_ice.timeout",
        "database.max_connections",
        "recorder.storage.bucket",
        "nodes[0].url",
        "nodes[1].alias",
        "nodes[1].pub_max",
    }
    assert len(caught.value.faults) == 10
    assert len(str(caught.value).splitlines()) == 10
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        ({"htpp": {}}, "htpp", 'did you mean "http"?'),
        ({"http": {"Listen": "a:1"}}, "http.Listen", 'did you mean "listen"?'),
        ({"nodes": [{**NODE, "pub_maxx": 1}]}, "nodes[0].pub_maxx", 'did you mean "pub_max"?'),
        ({"extra_ice": {"timeout": 1}}, "extra_ice.timeout", 'did you mean "timeout_ms"?'),
        ({"extra_ice": {"providers": 1}}, "extra_ice.providers", "is no known key"),
        ({"log": {"zzz": 1}}, "log.zzz", "known are level"),
        ({"log": {"a b": 1}}, 'log."a b"', "is no known key"),
        ({"recorder": {"storage": {"bucket": "b"}}}, "recorder.storage.bucket", "known are type, root"),
        ({"recorder": {"storage": {"type": "s3"}}}, "recorder.storage.bucket", "is missing"),
        ({"recorder": {"storage": {"type": "ftp", "x": 1}}}, "recorder.storage.type", '"fs", "s3", "oss"'),
        ({"nodes": [{"alias": "a"}]}, "nodes[0].url", "is missing"),
        ({"nodes": [NODE, {**NODE, "alias": "b"}, NODE]}, "nodes[2].alias", "of nodes[0] too"),
        ({"auth": {"accounts": [ACCOUNT, ACCOUNT]}}, "auth.accounts[1].username", "of auth.accounts[0] too"),
        ({"auth": {"webhook": {**WEBHOOK, "secret": ""}}}, "auth.webhook.secret", "is missing"),
        ({"auth": {"webhook": {"url": "http://access"}}}, "auth.webhook.secret", "is missing"),
        ({"auth": {"webhook": {"secret": "s"}}}, "auth.webhook.url", "is missing"),
        ({"nodes": ["http://node"]}, "nodes[0]", "must be a table"),
        ({"http": 5}, "http", "must be a table"),
        ({"extra_ice": []}, "extra_ice", "must be a table"),
        ({"liveion": {"count": 2, "address": "127.0.0.1:7777"}}, "liveion.address", "write port 0"),
    ],
)
def test_a_fault_names_the_place_and_the_remedy(data: dict[str, Any], path: str, words: str) -> None:
    [fault] = faults_of(data)
    assert fault.path == path
    assert words in fault.problem


def test_two_aliases_whose_session_tags_collide_are_refused() -> None:
    """A session id leads to one node; this pair was found by trying some 1.5 million names."""
    nodes = [{**NODE, "alias": alias} for alias in ("node-843088", "node-1545371")]
    [fault] = faults_of({"nodes": nodes})
    assert fault.path == "nodes[1].alias"
    assert "session tag" in fault.problem


def test_built_in_nodes_may_share_an_address_when_the_port_is_free_to_choose() -> None:
    assert faults_of({"liveion": {"count": 3, "address": "127.0.0.1:0"}}) == []
    assert faults_of({"liveion": {"count": 1, "address": "127.0.0.1:7777"}}) == []


def test_urls_and_lists_are_kept_in_the_form_that_is_used() -> None:
    config, _, _ = structure(
        {"nodes": [{**NODE, "url": "HTTP://node:7777/"}], "http": {"cors": ["https://A.org"]}}
    )
    assert config
    assert config.nodes[0].url == "http://node:7777"
    assert config.http.cors == ("https://a.org",)


# The original's files


def test_every_section_of_the_original_loads() -> None:
    """Whoever comes from the original keeps the file."""
    config, faults, warned = structure(read(DATA / "original.toml", {}))
    assert config is not None, faults
    assert config.http.cors is True
    assert config.auth.accounts[1].password.reveal() == "another password"
    assert config.nodes[0].mode == "poll"
    assert config.nodes[1].mode == "auto"
    assert config.nodes[1].url == "http://node"
    assert config.cascade.mode == "pull"
    assert isinstance(config.recorder.storage, S3Storage)
    assert config.recorder.storage.bucket == "recordings"
    assert set(config.extra_ice.providers) == {"ice_servers", "coturn", "cloudflare"}
    assert len(config.extra_ice.ice_servers) == 2
    assert config.liveion.count == 0
    assert [line.partition(" ")[0] for line in warned] == ["[[liveion]]"]
    assert all("has no effect" in line for line in warned)


def test_the_original_s_test_file_has_every_section() -> None:
    """So that the test above stays whole; `cluster`, `metrics` and `retention` are ours alone."""
    data = tomllib.loads((DATA / "original.toml").read_text())
    assert set(data) == {field.name for field in attrs.fields(Config)} - {"cluster", "metrics", "retention"}


def test_storage_in_alibaba_s_cloud_loads() -> None:
    storage = {"type": "oss", "bucket": "b", "endpoint": "oss-cn-beijing.aliyuncs.com", "access_key_id": "i"}
    config, faults, _ = structure({"recorder": {"storage": storage}})
    assert faults == []
    assert config
    assert isinstance(config.recorder.storage, OssStorage)


def test_built_in_nodes_of_older_versions_load() -> None:
    config, _, warnings = structure({"liveion": {"count": 3, "address": "127.0.0.1:0"}})
    assert config
    assert config.liveion.count == 3
    assert warnings == []


def test_a_section_that_the_file_does_not_set_is_not_warned_of() -> None:
    assert structure({"http": {}, "nodes": [NODE], "database": {}})[2] == []


def test_prose_in_a_section_is_told_by_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "[auth]\nAdmin Dashboard Accounts\n\n[[auth.accounts]]\n")
    [fault] = refusal(path)
    assert fault.path == f"{path}, line 2, column 7"
    assert "is not TOML" in fault.problem
    assert "comment that begins with #" in fault.problem


# Files


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (b"a = ", ", end of document", "is not TOML"),
        (b"[http]\nlisten = 0.0.0.0:8888", ", line 2, column 13", "is not TOML"),
        (b'[http]\nlisten = "a:1"\nlisten = "b:2"\n', ", line 3, column 15", "Cannot overwrite"),
        (b'[http]\nlisten = "\xff"', ", line 2", "is not UTF-8"),
        ('[http]\nlisten = "a:1"'.encode("utf-16"), ", line 1", "is not UTF-8"),
        (b"a = " + b"[" * 100_000, "", "nested too deeply"),
        (b"a = " + b"9" * 5000, "", "is not TOML"),
        (b"#" * (1024 * 1024 + 1), "", "larger than 1 MiB"),
        (b"\x00", ", line 1, column 1", "is not TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_told_where(tmp_path: Path, content: bytes, where: str, words: str) -> None:
    path = tmp_path / "liveman.toml"
    path.write_bytes(content)
    [fault] = refusal(str(path))
    assert fault.path == f"{path}{where}"
    assert words in fault.problem


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    """Some editors put one there."""
    path = tmp_path / "liveman.toml"
    path.write_bytes(b'\xef\xbb\xbf[log]\nlevel = "warn"\n')
    assert load(str(path), {}).log.level == "warn"


def test_a_missing_file_a_folder_and_an_unreadable_file_are_told(tmp_path: Path) -> None:
    (link := tmp_path / "loop.toml").symlink_to("/proc/self/mem")
    assert [fault.problem for fault in refusal(str(tmp_path / "no.toml"))] == ["there is no such file"]
    assert [fault.problem for fault in refusal(str(tmp_path))] == ["is a folder; name the file in it"]
    [fault] = refusal(str(link))
    assert fault.problem.startswith("cannot be read: ")


def test_files_are_looked_for_in_the_original_s_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is named, else the working folder's, else the system's, else none."""
    here, system = tmp_path / "liveman.toml", tmp_path / "system.toml"
    assert settings.PLACES == ("./liveman.toml", "/etc/live777/liveman.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "PLACES", ("./liveman.toml", str(system)))
    assert find_file(None) is None
    assert load(None, {}) == Config()
    system.write_text('[log]\nlevel = "error"')
    assert load(None, {}).log.level == "error"
    here.write_text('[log]\nlevel = "debug"')
    assert load(None, {}).log.level == "debug"
    assert load(str(system), {}).log.level == "error"


# The environment


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = (
        '[http]\nlisten = "[::1]:80"\ncors = true\n[log]\nlevel = "off"\n[database]\nurl = "sqlite://a.db"\n'
    )
    environ = {"PORT": "9000", "LOG_LEVEL": "debug", "DATABASE_URL": "sqlite::memory:"}
    config = load(write(tmp_path, text), environ)
    assert config.http.listen == "[::1]:9000"
    assert config.http.cors is True
    assert config.log.level == "debug"
    assert config.database.url == Secret("sqlite::memory:")


def test_the_environment_works_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert structure(read(None, {"PORT": "9000"}))[0] == Config(
        http=config_module.Http(listen="0.0.0.0:9000")
    )


def test_load_config_takes_the_process_s_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert load_config(write(tmp_path, "")).http.listen == "0.0.0.0:9001"


def test_an_empty_variable_is_not_set() -> None:
    assert read(None, {"PORT": "", "LOG_LEVEL": "", "DATABASE_URL": ""}) == {}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("PORT", value) for value in ("http", "-1", "65536", "80 ", "\uff18\uff10", "1e3")),
        *(("LOG_LEVEL", value) for value in ("INFO", "warning", "info,tower=debug")),
        *(
            ("DATABASE_URL", value)
            for value in ("mysql://u:topsecret@h/d", "liveman.db", "sqlite://a?mode=topsecret")
        ),
    ],
)
def test_a_bad_variable_is_a_fault_with_its_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {variable: value})
    [fault] = caught.value.faults
    assert fault.path == f"{variable} (environment)"
    assert "topsecret" not in str(caught.value)


def test_bad_variables_and_the_file_s_faults_come_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "[http]\ncors = 5\n"), {"PORT": "x", "LOG_LEVEL": "loud"})
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["PORT (environment)", "LOG_LEVEL (environment)", "http.cors"]


@pytest.mark.parametrize("http", ["http = 5", "[http]\nlisten = 5", '[http]\nlisten = "8888"'])
def test_a_good_port_does_not_hide_a_wrong_section(tmp_path: Path, http: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, http), {"PORT": "9000"})
    assert [fault.path for fault in caught.value.faults] in (["http"], ["http.listen"])


# Secrets


def test_secrets_are_in_no_repr_and_no_description() -> None:
    """A log line, a traceback or a pasted configuration gives nothing away."""
    data = tomllib.loads((DATA / "original.toml").read_text())
    config, _, _ = structure(data)
    assert config
    shown = repr(config) + str(config) + describe(config, {})
    secrets = [value for value in texts(data) if re.search(r"secret|token|password|credential|key id", value)]
    assert len(secrets) >= 13
    for secret in secrets:
        assert secret not in shown
    for part in ("db-password", "db-user", "mqtt-password", "mqtt-user"):
        assert part not in shown
    assert 'url = "postgresql://***@localhost:5432/live777"' in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite://./a@b.db?mode=rwc", "sqlite://./a@b.db?mode=rwc"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u:p@ss:w@h/d", "postgresql://***@h/d"),
        ("postgresql://h/d?user=u&password=p", "postgresql://h/d?***"),
    ],
)
def test_a_database_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    config, _, _ = structure({"database": {"url": url}})
    assert config
    assert f'url = "{shown}"' in describe(config, {})


def test_a_description_is_the_same_configuration_again() -> None:
    """What is shown is TOML that loads: nothing is left out, nothing is written another way."""
    assert structure(tomllib.loads(describe(Config(), {})))[:2] == (Config(), [])
    data = tomllib.loads((DATA / "original.toml").read_text())
    ice = {key: data["extra_ice"][key] for key in ("ice_servers", "coturn", "cloudflare")}
    config, _, _ = structure(data)
    assert config
    again, faults, _ = structure(tomllib.loads(describe(config, ice)))
    assert faults == []
    assert again
    assert again.nodes[1:] == config.nodes[1:]
    assert again.extra_ice == config.extra_ice
    assert again.cascade == config.cascade
    assert describe(again, ice) == describe(config, ice)


def test_a_description_survives_odd_texts() -> None:
    odd = {
        "x": {"a b": 'q"\\\n\t\x7fé', "list": [1, 2.5, True, {"k": "v"}], "empty": [], "table": {"deep": {}}}
    }
    assert tomllib.loads(describe(Config(), odd))["extra_ice"]["x"] == odd["x"]


def test_a_secret_tells_itself_only_when_asked() -> None:
    secret = Secret("topsecret")
    assert "topsecret" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "topsecret"
    assert secret
    assert not Secret()
    assert secret == Secret("topsecret") != Secret("other")


# Rules of the repository


def test_every_key_of_the_configuration_has_its_docstring() -> None:
    """Sections are told by their class, keys by the text beneath them."""
    tree = ast.parse(inspect.getsource(config_module))
    missing = [
        f"{node.name}.{statement.target.id}"
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name not in ("Config", "Secret")
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert missing == []
    undescribed = [
        node.name for node in tree.body if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
    ]
    assert undescribed == []


def test_the_reference_has_every_key_with_its_default() -> None:
    """`docs/configuration.md` can be trusted: each key of the code, each default, and nothing else."""
    table = (DOCS / "configuration.md").read_text().partition("## Every key")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)`( \(\w+\))?[^|]*\|[^|]*\| (?:`([^`]*)`|\u2013) \|", table, re.MULTILINE)
    assert {(key + kind, default or None) for key, kind, default in rows} == set(documented_keys(Config))


def test_the_reference_s_sample_loads() -> None:
    sample = re.search(r"```toml\n(.*?)```", (DOCS / "configuration.md").read_text(), re.DOTALL)
    assert sample
    assert structure(tomllib.loads(sample[1]))[1:] == ([], [])


def documented_keys(cls: type[Any], path: str = "", kind: str = "") -> Iterator[tuple[str, str | None]]:
    """Every key as the reference writes it, with its default as TOML; None: the key must be there."""
    for field in attrs.fields(cls):
        if not field.metadata.get("key", True):
            continue
        name = f"{path}{field.name}"
        tables = [kind for kind in (field.type, *get_args(field.type)) if kind in TABLES]
        if tables == [field.type]:
            yield from documented_keys(tables[0], f"{name}.")
            continue
        yield f"{name}{kind}", toml(field.default)
        for table in tables:
            if table in (FsStorage, S3Storage, OssStorage):
                yield from documented_keys(table, f"{name}.", f" ({attrs.fields(table).type.default})")
            else:
                yield from documented_keys(table, f"{name}." if table is field.type else f"{name}[].")


TABLES = [getattr(config_module, name) for name in config_module.__all__ if name not in ("Secret", "Storage")]


def toml(value: Any) -> str | None:
    if value is attrs.NOTHING:
        return None
    if isinstance(value, Secret):
        return toml(value.reveal())
    if attrs.has(type(value)):
        pairs = (f"{field.name} = {toml(getattr(value, field.name))}" for field in attrs.fields(type(value)))
        return f"{{ {', '.join(pairs)} }}"
    return json.dumps(value)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from texts(item)


def write(folder: Path, text: str) -> str:
    path = folder / "liveman.toml"
    path.write_text(text)
    return os.fspath(path)


def refusal(path: str) -> tuple[Fault, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    return caught.value.faults
