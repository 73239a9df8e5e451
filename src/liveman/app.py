"""The composition root: a Config becomes a web.Application. It wires the rooms and owns their lifetimes."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from aiohttp import http_parser, web
from attrs import define, field, fields, frozen

from liveman import settings
from liveman.access import OPEN
from liveman.auth.gate import AskHost, Gate
from liveman.auth.live import Live, Session
from liveman.auth.passwords import Passwords
from liveman.auth.revocation import Revocations
from liveman.auth.routes import routes as auth_routes
from liveman.auth.tokens import Tokens
from liveman.auth.webhook import Webhook
from liveman.cluster import Cluster, Node, Relays
from liveman.cluster.operations import routes as operation_routes
from liveman.cluster.registry import Registry
from liveman.cluster.routes import routes as cluster_routes
from liveman.cluster.store import Store
from liveman.config import Config, ExtraIce, FsStorage
from liveman.dashboard import Dashboard
from liveman.dashboard.routes import routes as dashboard_routes
from liveman.database import Database, Pulse, cluster_secret, open_database
from liveman.errors import ConfigError, Fault, LivemanError
from liveman.forwarded import Network, parse_networks
from liveman.guard import Guard
from liveman.ice import provider
from liveman.ice.broker import Broker
from liveman.ice.provider import IceProvider
from liveman.logs import get_logger
from liveman.metrics import routes as metrics_routes
from liveman.middleware import LISTENING, Route, json_response, mount
from liveman.proxy.attempts import Attempts
from liveman.proxy.forward import Forwarder
from liveman.proxy.routes import routes as proxy_routes
from liveman.proxy.upstream import Upstream, dial_tcp
from liveman.recording.object_routes import object_routes
from liveman.recording.objects import Objects
from liveman.recording.recordings import Recordings
from liveman.recording.routes import routes as recording_routes
from liveman.recording.storage import storage_for
from liveman.tasks import TaskOwner

if TYPE_CHECKING:
    from liveman.discovery import Discovery

__all__ = ["create_app", "load_config"]

log = get_logger("liveman")

#: How often a session that must end is looked after.
_LOOK_SECONDS = 1.0


@frozen
class Report:
    """All that is to be said of a configuration."""

    config: Config | None
    """None when there are faults."""
    faults: list[Fault]
    warnings: list[str]
    extra_ice: dict[str, Any]
    """The options of the ICE providers as they take effect, secrets masked."""


def inspect(path: str | None = None) -> Report:
    """Read and judge the configuration, the tables of the ICE providers included.

    Raises ConfigError when there is nothing to judge, as with a file that is not TOML.
    """
    data = settings.read(settings.find_file(path), os.environ)
    config, faults, warnings = settings.structure(data)
    tables = _provider_tables(data.get("extra_ice"))
    ice_faults = provider.faults(tables)
    if ice_faults:
        config = None
    return Report(config, [*faults, *ice_faults], warnings, {} if ice_faults else provider.describe(tables))


def load_config(path: str | None = None) -> Config:
    """Read the configuration: the file, and over it the environment.

    Without a path ``./liveman.toml`` is taken, then ``/etc/live777/liveman.toml``, then the defaults.

    Raises ConfigError with every fault.
    """
    report = inspect(path)
    for warning in report.warnings:
        log.warning(warning)
    if report.config is None:
        raise ConfigError(*report.faults)
    return report.config


def create_app(
    config: Config, *, ice_providers: Sequence[IceProvider] = (), identity: AskHost | None = None
) -> web.Application:
    """Liveman as an aiohttp application, to be served alone or mounted by ``add_subapp``.

    ice_providers: ICE providers of the host's own, after those that the configuration names; in logs they go
    by the names of their classes. They are started and closed with the application, so each is for one alone.
    identity: says who asks, by what the host knows of a request, such as its own session; a plain or an async
    function. For None the request must show what the configuration knows, such as a token.
    Nothing is started before the application is, and all of it ends with the application. Raises ConfigError.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise LivemanError(
            "aiohttp's parser in C is not loaded, and the one in Python is unsafe for a proxy: unset "
            "AIOHTTP_NO_EXTENSIONS and install a wheel of aiohttp that is built for this machine."
        )
    rooms = _Rooms(config, ice_providers, identity)
    pages, nowhere = dashboard_routes(rooms.dashboard)
    app = web.Application()
    mount(
        app,
        Guard(
            identify=rooms.gate.identify,
            cors=config.http.cors,
            trusted=rooms.trusted,
            all_hosted=identity is not None,
        ),
        [
            *proxy_routes(rooms.forwarder),
            *cluster_routes(rooms.cluster, rooms.gate.good),
            *operation_routes(rooms.cluster, rooms.registry),
            *auth_routes(rooms.gate),
            *object_routes(rooms.objects, stream_of=rooms.recordings.stream_of),
            *recording_routes(rooms.recordings),
            *rooms.health_routes(),
            *metrics_routes(rooms.cluster, rooms.broker, rooms.discovery, public=config.metrics.public),
            *pages,
        ],
        nowhere=nowhere,
    )
    app.cleanup_ctx.append(rooms.lifetime)
    app.on_shutdown.append(rooms.end_streams)
    return app


def _provider_tables(extra_ice: object) -> dict[str, Any]:
    """What of the raw table ``[extra_ice]`` belongs to providers."""
    if not isinstance(extra_ice, Mapping):
        return {}
    own = {attribute.name for attribute in fields(ExtraIce)}
    return {
        key: value
        for key, value in extra_ice.items()
        if (key not in own and isinstance(value, Mapping))
        or (key == "ice_servers" and isinstance(value, list) and value)
    }


def _providers(extra_ice: ExtraIce, more: Sequence[IceProvider]) -> dict[str, IceProvider]:
    """The providers of the configuration in its order, then those that the host application gave."""
    static = {"ice_servers": list(extra_ice.ice_servers)}
    placed = "ice_servers" in extra_ice.providers
    tables = {**extra_ice.providers, **static} if placed else {**static, **extra_ice.providers}
    return provider.named(more, provider.load(tables))


@define
class _Rooms:
    """The rooms of one application, made at once and opened when it starts."""

    config: Config
    ice_providers: Sequence[IceProvider] = ()
    ask_host: AskHost | None = None
    trusted: Sequence[Network] = field(init=False)
    cluster: Cluster = field(init=False)
    gate: Gate = field(init=False)
    webhook: Webhook | None = field(default=None, init=False)
    registry: Registry = field(init=False)
    relays: Relays = field(init=False)
    upstream: Upstream = field(init=False)
    broker: Broker = field(init=False)
    attempts: Attempts = field(init=False)
    forwarder: Forwarder = field(init=False)
    objects: Objects = field(init=False)
    recordings: Recordings = field(init=False)
    dashboard: Dashboard = field(init=False)
    discovery: "Discovery | None" = field(default=None, init=False)
    database: Database | None = field(default=None, init=False)
    pulse: Pulse = field(init=False)
    tasks: TaskOwner = field(factory=TaskOwner, init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        self.trusted = parse_networks(config.http.trusted_proxies)
        self.cluster = Cluster(
            [Node.from_config(node) for node in config.nodes],
            options=config.cluster,
            connector=lambda node: self.discovery.connector(node) if self.discovery else None,
        )
        self.registry = Registry(self.cluster)
        if config.net4mqtt.mqtt_url:
            # It brings two libraries with it, which nobody else needs.
            from liveman.discovery import Discovery

            self.discovery = Discovery(config.net4mqtt, self.cluster, self.registry)
        self.relays = Relays(self.cluster, config.cascade)
        self.upstream = Upstream(self._dial if self.discovery else dial_tcp)
        self.broker = Broker(
            _providers(config.extra_ice, self.ice_providers),
            timeout_ms=config.extra_ice.timeout_ms,
            min_life=config.extra_ice.min_life,
        )
        self.attempts = Attempts(self.cluster, self.upstream, trusted=self.trusted)
        if config.auth.webhook.url:
            self.webhook = Webhook(config.auth.webhook)
        live = Live(self._state_of)
        self.gate = Gate(
            config.auth,
            Passwords(config.auth.accounts),
            Revocations(self._end_sessions),
            live,
            self._subscribers,
            trusted=self.trusted,
            ask_host=self.ask_host,
            webhook=self.webhook,
        )
        self.forwarder = Forwarder(
            cluster=self.cluster,
            relays=self.relays,
            attempts=self.attempts,
            broker=self.broker,
            ice=config.extra_ice,
            failover_seconds=config.cluster.placement_timeout_ms / 1000,
            admission=self.gate,
        )
        storage = storage_for(config.recorder.storage)
        self.objects = Objects(storage, config.playback)
        self.recordings = Recordings(
            self.cluster, config.auto_record, config.record_sync, config.retention, storage
        )
        self.pulse = Pulse(self._opened, self.tasks.start)
        self.dashboard = Dashboard(
            self.cluster,
            self.registry,
            self.relays,
            self.gate,
            self.broker,
            self.recordings,
            self.objects,
            config,
            self.pulse.problem,
            lambda: self.discovery.problem if self.discovery else "",
        )

    async def lifetime(self, app: web.Application) -> AsyncIterator[None]:
        config = self.config
        async with AsyncExitStack() as stack:
            self.database = await stack.enter_async_context(
                open_database(
                    config.database.url,
                    max_connections=config.database.max_connections,
                    connect_timeout=config.database.connect_timeout,
                )
            )
            secret = config.auth.secret.reveal().encode()
            secret = secret or await cluster_secret(self.database, secrets.token_bytes)
            self.forwarder.secret = self.relays.secret = secret
            self.gate.tokens = await stack.enter_async_context(Tokens(config.auth, own_secret=secret))
            await stack.enter_async_context(self.gate.passwords)
            if self.webhook is not None:
                await stack.enter_async_context(self.webhook)
            if not self.gate.closed:
                log.warning("no authentication is configured: everyone may do everything (docs/access.md)")
            self.relays.leadership = self.database.leadership
            self.relays.public = config.http.public or app.get(LISTENING) or f"http://{config.http.listen}"
            if config.liveion.count:
                await self._start_buildin_nodes(stack)
            # After all that are declared, which win.
            await self.registry.load(Store(self.database))
            await stack.enter_async_context(self.broker)
            if self.discovery is not None:
                await stack.enter_async_context(self.discovery)
            await stack.enter_async_context(self.cluster)
            await stack.enter_async_context(self.registry)
            await stack.enter_async_context(self.relays)
            await stack.enter_async_context(self.upstream)
            await stack.enter_async_context(self.attempts)
            await stack.enter_async_context(self.objects)
            await stack.enter_async_context(self.recordings.kept_in(self.database))
            await stack.enter_async_context(self.tasks)
            await stack.enter_async_context(self.gate.revocations.kept_in(self.database))
            await stack.enter_async_context(self.dashboard)
            yield

    async def _dial(
        self, url: str, factory: Callable[[], asyncio.BaseProtocol]
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """The way to a node for clients' signalling."""
        if self.discovery is not None and self.discovery.leads_to(url):
            return await self.discovery.dial(url, factory)
        return await dial_tcp(url, factory)

    async def _start_buildin_nodes(self, stack: AsyncExitStack) -> None:
        from liveman.demo.nodes import buildin_nodes

        liveion, storage = self.config.liveion, self.config.recorder.storage
        nodes = await stack.enter_async_context(
            buildin_nodes(
                liveion.count,
                address=liveion.address,
                sub_max=liveion.sub_max,
                recordings=storage.root if isinstance(storage, FsStorage) else "",
            )
        )
        for node in nodes:
            self.cluster.add(
                Node(node.alias, node.url, pub_max=liveion.pub_max, sub_max=liveion.sub_max, kind="demo")
            )

    def _state_of(self, session: Session) -> Literal["live", "away", "gone"]:
        if self.cluster.node(session.alias) and self.cluster.is_down(session.alias):
            return "away"
        there = self.cluster.state.streams.get(session.stream, {}).get(session.alias)
        return "live" if there and session.id in there.sessions else "gone"

    def _subscribers(self, stream: str) -> int:
        return sum(each.subscribers for each in self.cluster.state.streams.get(stream, {}).values())

    def _end_sessions(self, token_id: str) -> None:
        for each in self.gate.live.of_token(token_id):
            self.tasks.start("end a revoked token's session", self._end_session(each))

    async def _end_session(self, session: Session) -> None:
        """At its node; at one that is down as soon as it is back."""
        state = "live"
        while state != "gone":
            if state == "live":
                await self.cluster.delete_session(session.alias, quote(session.stream, safe=""), session.id)
            await asyncio.sleep(_LOOK_SECONDS)
            state = self._state_of(session)

    async def end_streams(self, _app: web.Application) -> None:
        self.forwarder.end_streams()
        self.cluster.lists.end_feeds()
        self.dashboard.end_streams()

    def health_routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", _healthz, OPEN),
            Route("GET", "/readyz", self._readyz, OPEN),
        ]

    def _opened(self) -> Database:
        assert self.database is not None
        return self.database

    async def _readyz(self, _request: web.Request) -> web.Response:
        """Ready: the database answers, and every node was asked once."""
        database = await self.pulse.problem() or "ok"
        waiting = self.cluster.unasked()
        ready = database == "ok" and not waiting
        return json_response(
            {"ready": ready, "database": database, "nodes_not_asked_yet": waiting},
            status=200 if ready else 503,
            headers={"Cache-Control": "no-store"},
        )


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok", headers={"Cache-Control": "no-store"})
