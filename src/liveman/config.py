"""The configuration as frozen values. `settings` reads TOML and the environment into it.

Each key's docstring stands beneath it, and its form, where it has one, in its type; the keys are those of the
original Liveman plus ours. `docs/configuration.md` lists them all.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from attrs import field, frozen

from liveman import forms
from liveman.config_auth import Account, Auth, Claims, Quotas, RateLimits, Webhook
from liveman.database_url import database_url
from liveman.forms import Between, Secret

__all__ = [
    "Account",
    "Auth",
    "AutoRecord",
    "Cascade",
    "Claims",
    "Cluster",
    "Config",
    "Database",
    "ExtraIce",
    "FsStorage",
    "Http",
    "Liveion",
    "Log",
    "Metrics",
    "Net4mqtt",
    "NodeConfig",
    "OssStorage",
    "Playback",
    "Quotas",
    "RateLimits",
    "RecordSync",
    "Recorder",
    "Retention",
    "S3Storage",
    "Secret",
    "Storage",
    "Webhook",
]


@frozen
class Http:
    """How Liveman is reached."""

    listen: Annotated[str, forms.address] = "0.0.0.0:8888"
    """``host:port``; ``[::]:8888`` is dual-stack. The environment's PORT replaces the port."""
    public: Annotated[str, forms.optional(forms.public_url)] = ""
    """The URL by which nodes reach Liveman, with the prefix where it is mounted; empty: ``http://{listen}``."""
    cors: bool | tuple[Annotated[str, forms.origin], ...] = False
    """true: pages of any origin may call; a list: those of these origins, such as ``https://example.org``."""
    trusted_proxies: tuple[Annotated[str, forms.network], ...] = ()
    """Networks (``10.0.0.0/8``) whose X-Forwarded-* and Forwarded headers are believed."""


@frozen
class Log:
    """What is written to standard error."""

    level: Literal["off", "error", "warn", "info", "debug", "trace"] = "info"
    """The least important events that are still logged. The environment's LOG_LEVEL replaces it."""


@frozen
class ExtraIce:
    """ICE servers that Liveman adds to answers."""

    override_upstream_ice_servers: bool = False
    """Whether the nodes' own ICE servers are dropped."""
    timeout_ms: Annotated[int, Between(1, 60_000)] = 500
    """The longest that all providers together may delay a request, milliseconds."""
    max_urls: Annotated[int, Between(0, 1000)] = 12
    """The most ICE urls in one answer; browsers slow down with more."""
    min_life: Annotated[int, Between(1, 86_400)] = 600
    """Credentials that were fetched ahead of need are not given to a session when they are good for less, nor
    with less than a third of their life, seconds. For the default, an allocation lives as long without them
    (RFC 8656, section 3.2)."""
    ice_servers: tuple[Any, ...] = field(default=(), repr=False)
    """The static servers, each a table ``[[extra_ice.ice_servers]]``; opaque here."""
    providers: Mapping[str, Any] = field(factory=dict, repr=False, metadata={"key": False})
    """The tables ``[extra_ice.<name>]`` by name, opaque here: the provider structures its own. Where
    ``ice_servers`` stands among them, its place is that of the static servers; else these are the first."""


CascadeMode = Literal["push", "pull"]


@frozen
class Cascade:
    """Relays from node to node."""

    mode: CascadeMode = "push"
    """Whether the source pushes the stream to the destination, or the destination pulls it."""
    check_attempts: Annotated[int, Between(1, 3600)] = 5
    """How long a viewer waits for a relay, seconds."""
    check_tick_time: Annotated[int, Between(1)] = 60_000
    """How often idle relays are looked for, milliseconds."""
    maximum_idle_time: Annotated[int, Between(0)] = 60_000
    """How long a relay without subscribers lives, milliseconds."""
    close_other_sub: bool = False
    """Whether the source's other subscribers are closed after a push."""


@frozen
class Net4mqtt:
    """Nodes that are reached over an MQTT broker."""

    mqtt_url: Annotated[Secret, forms.optional(forms.mqtt_url)] = Secret()
    """``mqtt://[user:password@]host:port/prefix?client_id=…``, or mqtts, ws, wss; empty: not used."""
    alias: Annotated[str, forms.topic_level] = ""
    """Liveman's own name in the topics; ``{alias}`` in the URL stands for it. Empty: one made at random at
    each start."""
    listen: Annotated[str, forms.optional(forms.address)] = "127.0.0.1:1077"
    """Where the SOCKS5 listener waits; empty: there is none."""
    domain: Annotated[str, forms.domain] = "net4mqtt.local"
    """Nodes whose host ends in it are reached through the broker."""
    token: Annotated[Secret, forms.optional(forms.token)] = Secret()
    """For discovered nodes that want one."""
    ca: str = ""
    """File of the authorities of the broker's certificate (PEM); empty: the system's."""
    certificate: str = ""
    """File of what the broker is shown (PEM), where it asks for a certificate."""
    key: str = ""
    """File of its key, where that is one of its own."""


@frozen
class Metrics:
    """The page for Prometheus."""

    public: bool = False
    """Whether everyone may read it; else whoever may read the lists."""


@frozen
class Database:
    """Where Liveman keeps what must outlive it."""

    url: Annotated[Secret, database_url] = Secret("sqlite://./liveman.db?mode=rwc")
    """``sqlite://./file``, ``sqlite:///absolute``, ``sqlite::memory:``, ``postgresql://…``. The environment's
    DATABASE_URL replaces it."""
    max_connections: Annotated[int, Between(1, 1000)] = 10
    """The most connections that are open at once."""
    connect_timeout: Annotated[int, Between(1, 3600)] = 30
    """How long to wait for a connection, seconds."""


StorageType = Literal["fs", "s3", "oss"]


@frozen
class FsStorage:
    """Recordings lie in a folder."""

    type: StorageType = "fs"
    """Which storage this is."""
    root: Annotated[str, forms.filled] = "./storage"
    """The folder."""


@frozen
class S3Storage:
    """Recordings lie in an S3 bucket."""

    bucket: Annotated[str, forms.filled]
    """The bucket's name."""
    type: StorageType = "s3"
    """Which storage this is."""
    root: str = ""
    """The prefix of every object; empty: none."""
    region: str = ""
    """The bucket's region; empty: what the environment says."""
    endpoint: str = ""
    """The service's URL; empty: Amazon's."""
    access_key_id: Secret = Secret()
    """The key's id."""
    secret_access_key: Secret = Secret()
    """The key."""
    session_token: Secret = Secret()
    """For temporary keys."""
    disable_config_load: bool = False
    """Whether the environment and the files of Amazon's tools are left unread."""
    enable_virtual_host_style: bool = False
    """Whether the bucket stands in the host's name instead of the path."""


@frozen
class OssStorage:
    """Recordings lie in a bucket of Alibaba's object storage."""

    bucket: Annotated[str, forms.filled]
    """The bucket's name."""
    endpoint: Annotated[str, forms.filled]
    """The service's URL."""
    type: StorageType = "oss"
    """Which storage this is."""
    root: str = ""
    """The prefix of every object; empty: none."""
    access_key_id: Secret = Secret()
    """The key's id."""
    access_key_secret: Secret = Secret()
    """The key."""
    security_token: Secret = Secret()
    """For temporary keys."""


Storage = FsStorage | S3Storage | OssStorage


@frozen
class Recorder:
    """What becomes of recordings."""

    storage: Storage = FsStorage()
    """Where recordings lie; the key ``type`` (``fs``, ``s3``, ``oss``) says which other keys there are."""


@frozen
class AutoRecord:
    """Streams that are recorded without being asked."""

    enabled: bool = False
    """Whether they are."""
    auto_streams: tuple[Annotated[str, forms.filled], ...] = ()
    """Globs of stream names."""
    base_prefix: str = ""
    """The folder in the storage that they go to."""
    tick_ms: Annotated[int, Between(1)] = 5000
    """How often new streams are looked for, milliseconds."""
    max_recording_seconds: Annotated[int, Between(0)] = 86_400
    """After this a recording is rotated, seconds; 0: never."""


@frozen
class RecordSync:
    """How Liveman learns what the nodes have recorded."""

    enabled: bool = False
    """Whether it does."""
    tick_ms: Annotated[int, Between(1)] = 10_000
    """How often each node is asked, milliseconds."""
    limit: Annotated[int, Between(1, 10_000)] = 200
    """Rows per page that a node is asked for."""


@frozen
class Playback:
    """How recordings are served."""

    signed_redirect: bool = False
    """Whether players are sent to the storage itself, by a signed URL."""
    signed_ttl_seconds: Annotated[int, Between(1, 604_800)] = 60
    """How long such a URL is good, seconds."""


@frozen
class Retention:
    """Which recordings are deleted, with their objects, and when. Nothing is unless a limit is set."""

    max_age_days: Annotated[int, Between(0, 36_500)] = 0
    """Those that began longer ago, days; 0: none for their age."""
    max_bytes: Annotated[int, Between(0, 2**62)] = 0
    """The oldest, while all together have more bytes; 0: none for their size."""
    streams: tuple[Annotated[str, forms.filled], ...] = ("*",)
    """Globs of the streams that this is about; the others keep theirs, and do not count."""


@frozen
class Cluster:
    """How the nodes are watched and chosen."""

    poll_interval_ms: Annotated[int, Between(10, 3_600_000)] = 3000
    """Between two polls of a node without server-sent events, milliseconds."""
    max_depth: Annotated[int, Between(1, 100)] = 3
    """The most relays between a publisher and a viewer."""
    placement_timeout_ms: Annotated[int, Between(0, 60_000)] = 5000
    """How long another node is tried after one failed, milliseconds all told."""


@frozen
class NodeConfig:
    """One live777 node."""

    alias: Annotated[str, forms.alias]
    """Its name in Liveman's URLs and lists."""
    url: Annotated[str, forms.node_url]
    """``http://host:port`` or ``https://…``; kept without a final slash."""
    token: Annotated[Secret, forms.optional(forms.token)] = Secret()
    """What Liveman sends to the node as its Bearer token."""
    mode: Literal["auto", "sse", "poll"] = "auto"
    """How it is watched: by server-sent events, by polling, or by what it has."""
    pub_max: Annotated[int, Between(0, 65_535)] = 65_535
    """The most publishers on this node."""
    sub_max: Annotated[int, Between(0, 65_535)] = 65_535
    """The most subscribers of one stream on this node."""


@frozen
class Liveion:
    """Nodes that Liveman starts itself, for trying it out."""

    count: Annotated[int, Between(0, 100)] = 0
    """How many."""
    address: Annotated[str, forms.address] = "127.0.0.1:0"
    """``host:port``; port 0: any free one."""
    pub_max: Annotated[int, Between(0, 65_535)] = 65_535
    """The most publishers on each."""
    sub_max: Annotated[int, Between(0, 65_535)] = 65_535
    """The most subscribers of one stream on each."""


@frozen
class Config:
    """The whole configuration: each field is a section of the file."""

    http: Http = Http()
    auth: Auth = Auth()
    log: Log = Log()
    extra_ice: ExtraIce = ExtraIce()
    cascade: Cascade = Cascade()
    net4mqtt: Net4mqtt = Net4mqtt()
    metrics: Metrics = Metrics()
    database: Database = Database()
    recorder: Recorder = Recorder()
    auto_record: AutoRecord = AutoRecord()
    record_sync: RecordSync = RecordSync()
    playback: Playback = Playback()
    retention: Retention = Retention()
    cluster: Cluster = Cluster()
    nodes: tuple[NodeConfig, ...] = ()
    liveion: Liveion = Liveion()
