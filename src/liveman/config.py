"""The configuration as frozen values. `settings` reads TOML and the environment into it.

Each key's docstring stands beneath it; the keys are those of the original Liveman plus ours.
"""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

__all__ = [
    "Account",
    "Auth",
    "AutoRecord",
    "Cascade",
    "Cluster",
    "Config",
    "Database",
    "ExtraIce",
    "Http",
    "Liveion",
    "Log",
    "Net4mqtt",
    "NodeConfig",
    "Playback",
    "RecordSync",
    "Recorder",
    "Secret",
    "Storage",
]


class Secret:
    """A text that no repr, log or error shows. ``reveal()`` gives it; empty is falsy."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"


@frozen
class Http:
    """How Liveman is reached."""

    listen: str = "0.0.0.0:8888"
    """``host:port``; ``[::]:8888`` is dual-stack. The environment's PORT replaces the port."""
    public: str = ""
    """The URL by which nodes reach Liveman, with the prefix where it is mounted; empty: ``http://{listen}``."""
    cors: bool | tuple[str, ...] = False
    """true: pages of any origin may call; a list: those of these origins, such as ``https://example.org``."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (``10.0.0.0/8``) whose X-Forwarded-* and Forwarded headers are believed."""


@frozen
class Account:
    """One user of the dashboard."""

    username: str
    password: Secret
    """Plain text or an argon2 hash."""


@frozen
class Auth:
    """Who may do what. Nothing set: everyone may do everything."""

    secret: Secret = Secret()
    """The key of JWTs (HS256) and of session ids."""
    tokens: tuple[Secret, ...] = ()
    """Static tokens that may do everything."""
    accounts: tuple[Account, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a request must say who asks."""
        return bool(self.secret or self.tokens or self.accounts)


@frozen
class Log:
    level: Literal["off", "error", "warn", "info", "debug", "trace"] = "info"
    """The environment's LOG_LEVEL replaces it."""


@frozen
class ExtraIce:
    """ICE servers that Liveman adds to answers."""

    override_upstream_ice_servers: bool = False
    """Whether the nodes' own ICE servers are dropped."""
    timeout_ms: int = 500
    """The longest that all providers together may delay a request, milliseconds."""
    max_urls: int = 12
    """The most ICE urls in one answer; browsers slow down with more."""
    ice_servers: tuple[Any, ...] = ()
    """The static servers, opaque here."""
    providers: Mapping[str, Any] = field(factory=dict, repr=False)
    """The tables ``[extra_ice.<name>]`` by name, opaque here: the provider structures its own."""


@frozen
class Cascade:
    """Relays from node to node."""

    mode: Literal["push", "pull"] = "push"
    check_attempts: int = 5
    """How long a viewer waits for a relay, seconds."""
    check_tick_time: int = 60_000
    """How often idle relays are looked for, milliseconds."""
    maximum_idle_time: int = 60_000
    """How long a relay without subscribers lives, milliseconds."""
    close_other_sub: bool = False
    """Whether the source's other subscribers are closed after a push."""


@frozen
class Net4mqtt:
    """Nodes that are reached over an MQTT broker."""

    mqtt_url: Secret = Secret()
    """``mqtt://[user:password@]host:port/prefix?client_id=…``"""
    alias: str = ""
    listen: str = "127.0.0.1:1077"
    """Where the SOCKS5 listener waits."""
    domain: str = "net4mqtt.local"
    token: Secret = Secret()
    """For discovered nodes that want one."""


@frozen
class Database:
    url: Secret = Secret("sqlite://./liveman.db?mode=rwc")
    """``sqlite://./file``, ``sqlite:///absolute``, ``sqlite::memory:`` or ``postgresql://…`` (DATABASE_URL)."""
    max_connections: int = 10
    connect_timeout: int = 30
    """Seconds."""


@frozen
class Storage:
    """Where recordings lie. Each type takes its own keys."""

    type: Literal["fs", "s3", "oss"] = "fs"
    root: str = "./storage"
    bucket: str = ""
    region: str = ""
    endpoint: str = ""
    access_key_id: Secret = Secret()
    secret_access_key: Secret = Secret()
    """s3"""
    session_token: Secret = Secret()
    """s3"""
    disable_config_load: bool = False
    """s3"""
    enable_virtual_host_style: bool = False
    """s3"""
    access_key_secret: Secret = Secret()
    """oss"""
    security_token: Secret = Secret()
    """oss"""


@frozen
class Recorder:
    storage: Storage = Storage()


@frozen
class AutoRecord:
    enabled: bool = False
    auto_streams: tuple[str, ...] = ()
    """Globs of stream names."""
    base_prefix: str = ""
    tick_ms: int = 5000
    max_recording_seconds: int = 86_400
    """After this a recording is rotated; 0: never."""


@frozen
class RecordSync:
    enabled: bool = False
    tick_ms: int = 10_000
    limit: int = 200
    """Rows per page that a node is asked for."""


@frozen
class Playback:
    signed_redirect: bool = False
    signed_ttl_seconds: int = 60


@frozen
class Cluster:
    """How the nodes are watched and chosen."""

    poll_interval_ms: int = 3000
    """Between two polls of a node without server-sent events, milliseconds."""
    max_depth: int = 3
    """The most relays between a publisher and a viewer."""
    placement_timeout_ms: int = 5000
    """How long another node is tried after one failed, milliseconds all told."""


@frozen
class NodeConfig:
    """One live777 node."""

    alias: str
    url: str
    """``http://host:port`` or ``https://…``"""
    token: Secret = Secret()
    """What Liveman sends to the node as its Bearer token."""
    mode: Literal["auto", "sse", "poll"] = "auto"
    """How it is watched: by server-sent events, by polling, or by what it has."""
    pub_max: int = 65_535
    """The most publishers on this node."""
    sub_max: int = 65_535
    """The most subscribers of one stream on this node."""


@frozen
class Liveion:
    """Nodes that Liveman starts itself, for trying it out."""

    count: int = 0
    address: str = "127.0.0.1:0"
    """``host:port``; port 0: any free one."""
    pub_max: int = 65_535
    sub_max: int = 65_535


@frozen
class Config:
    """The whole configuration."""

    http: Http = Http()
    auth: Auth = Auth()
    log: Log = Log()
    extra_ice: ExtraIce = ExtraIce()
    cascade: Cascade = Cascade()
    net4mqtt: Net4mqtt = Net4mqtt()
    database: Database = Database()
    recorder: Recorder = Recorder()
    auto_record: AutoRecord = AutoRecord()
    record_sync: RecordSync = RecordSync()
    playback: Playback = Playback()
    cluster: Cluster = Cluster()
    nodes: tuple[NodeConfig, ...] = ()
    liveion: Liveion = Liveion()
