"""Who may do what: the one table that `docs/access.md` shows and that every route is tried against."""

from attrs import frozen

__all__ = ["BARE", "PUBLISHED", "TABLE", "WATCHED", "Row", "render"]

#: What stands for a session in the table: a publisher's and a subscriber's by Liveman's id, one by the node's.
PUBLISHED, WATCHED, BARE = "{publisher's session}", "{subscriber's session}", "{node's own id}"


@frozen
class Row:
    """One or several routes, and what they want of a token."""

    methods: tuple[str, ...]
    paths: tuple[str, ...]
    """``s`` is the stream of the token, ``n0`` a node."""
    bits: tuple[str, ...] = ()
    """Any one of ``manage``, ``publish``, ``subscribe``; none: open to everyone."""
    own: bool = False
    """Whether a token for the one stream ``s`` is enough."""
    otherwise: int = 403
    """What a token gets that has not the bits."""
    relays: bool = False
    """Whether a relay's token for this node, kind and stream is enough."""
    note: str = ""


ANY = ("manage", "publish", "subscribe")
SESSION = ("GET", "HEAD", "POST", "PATCH", "DELETE")


def _session(id: str, *bits: str, otherwise: int = 403, relays: bool = True, note: str = "") -> Row:
    paths = (f"/session/s/{id}", f"/session/s/{id}/layer")
    return Row(SESSION, paths, bits, own=True, otherwise=otherwise, relays=relays, note=note)


TABLE = (
    Row(("POST", "OPTIONS", "GET", "HEAD"), ("/whip/s",), ("publish",), own=True),
    Row(("POST", "OPTIONS", "GET", "HEAD"), ("/whep/s",), ("subscribe",), own=True),
    _session(PUBLISHED, "publish"),
    _session(WATCHED, "subscribe"),
    _session(BARE, "manage", otherwise=404, relays=False, note="404 without"),
    Row(("POST",), ("/api/whip/n0/s", "/api/whep/n0/s"), ("manage",), relays=True),
    Row(("GET", "HEAD"), ("/api/streams/s",), ("subscribe",), own=True, note="ids of sessions only for `*`"),
    Row(("POST", "DELETE"), ("/api/streams/s",), ("manage",), own=True),
    Row(("DELETE",), ("/api/streams/s/sessions/{node's own id}",), ("manage",), own=True),
    Row(
        ("GET", "HEAD"),
        (
            "/api/nodes/",
            "/api/streams/",
            "/api/sse/nodes",
            "/api/sse/streams",
            "/api/placement",
            "/api/decisions",
        ),
        ANY,
    ),
    Row(("GET", "HEAD"), ("/api/record/s", "/api/playback/s"), ("subscribe",), own=True),
    Row(("POST", "DELETE"), ("/api/record/s",), ("manage",), own=True),
    Row(("GET", "HEAD"), ("/api/playback",), ANY),
    Row(
        ("GET", "HEAD"),
        ("/api/record/object/{an object of s}",),
        ("subscribe",),
    ),
    Row(("GET",), ("/api/storage/ping",), ("manage",)),
    Row(("POST",), ("/api/storage/presign",), ("manage",)),
    Row(("POST",), ("/api/nodes/",), ("manage",)),
    Row(("DELETE",), ("/api/nodes/n1",), ("manage",)),
    Row(("PUT", "GET", "DELETE"), ("/api/nodes/n0/drain",), ("manage",)),
    Row(("POST",), ("/api/token",), ("manage",), note="never more than its maker has, nor longer"),
    Row(("DELETE",), ("/api/tokens/{jti}",), ("manage",)),
    Row(("POST",), ("/api/login", "/api/logout")),
    Row(("GET", "HEAD"), ("/metrics",), ANY, note="nothing, with `metrics.public`"),
    Row(("GET", "HEAD"), ("/", "/nodes/", "/nodes/n0", "/streams/", "/recordings/"), ANY),
    Row(("GET", "HEAD"), ("/streams/s", "/recordings/s"), ("subscribe",), own=True),
    Row(
        ("GET", "HEAD"),
        ("/watch/s", "/publish/s", "/publish/", "/recordings/s/play", "/play"),
        note="what they play and publish decides",
    ),
    Row(("GET", "HEAD"), ("/tokens/", "/ice/"), ("manage",)),
    Row(("POST",), ("/login", "/logout")),
    Row(("GET", "HEAD"), ("/login", "/tools/player.html", "/tools/debugger.html", "/tools/dash.html")),
    Row(("GET", "HEAD"), ("/assets/{hash}/{name}", "/healthz", "/readyz")),
)


def render() -> str:
    """The table in Markdown."""
    lines = ["| requests | a token for the stream is enough | needs |", "|---|---|---|"]
    for row in TABLE:
        requests = f"`{'`, `'.join(row.methods)}` `{'` `'.join(row.paths)}`"
        needs = " or ".join(row.bits) or "nothing"
        if row.relays:
            needs += ", or the relay's own token"
        if row.note:
            needs += f"; {row.note}"
        scope = "" if not row.bits else "yes" if row.own else "only `*`"
        lines.append(f"| {requests} | {scope} | {needs} |")
    return "\n".join(lines)
