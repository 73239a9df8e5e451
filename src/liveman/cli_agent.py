"""``liveman agent``: a node that nobody can dial joins the cluster over an MQTT broker."""

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from liveman import forms, logs
from liveman.config import Secret
from liveman.errors import LivemanError
from liveman.server import forever, run

if TYPE_CHECKING:
    from liveman.net4mqtt.address import BrokerAddress

__all__ = ["agent"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--target",
    metavar="URL",
    default="http://127.0.0.1:7777",
    show_default=True,
    help="The node; it alone can be reached.",
)
@click.option(
    "--url",
    metavar="URL",
    envvar="LIVEMAN_AGENT_URL",
    required=True,
    help="mqtt://[user:password@]host:port/prefix, or mqtts, ws, wss. Others on this machine see it here, "
    "but not in the environment's LIVEMAN_AGENT_URL.",
)
@click.option("--alias", required=True, help="The node's name in the cluster.")
@click.option(
    "--ca", type=_FILE, help="The authorities of the broker's certificate, instead of the system's (PEM)."
)
@click.option("--certificate", type=_FILE, help="What the broker is shown (PEM).")
@click.option("--key", type=_FILE, help="Its key, where it is in a file of its own.")
def agent(
    target: str, url: str, alias: str, ca: Path | None, certificate: Path | None, key: Path | None
) -> None:
    """Let Liveman reach a node behind NAT: this program dials the broker, Liveman comes through it."""
    # They bring two libraries with them, which no other command needs.
    from liveman.net4mqtt.agent import Agent
    from liveman.net4mqtt.broker import tls_context

    address, where = _checked(target, url, alias)
    try:
        tls = tls_context(ca, certificate, key)
    except OSError as error:
        problem = error.strerror or error
        raise LivemanError(f"The files of --ca, --certificate and --key cannot be used: {problem}") from None
    logs.configure("info")

    async def stay() -> int:
        async with Agent(address, alias=alias, target=where, tls=tls):
            await forever()
        return 0

    sys.exit(run(stay()))


def _checked(target: str, url: str, alias: str) -> tuple["BrokerAddress", tuple[str, int]]:
    """The broker's address, and the target's host and port."""
    from liveman.net4mqtt.address import parse_broker_url

    option = "--target"
    try:
        parts = urlsplit(forms.node_url(target))
        if parts.scheme != "http" or parts.path:
            raise ValueError("must be http://host:port, without TLS or a path")
        option = "--alias"
        forms.agent_id(forms.filled(alias))
        option = "--url"
        address = parse_broker_url(Secret(url), alias=alias, client_id=secrets.token_hex(4))
    except ValueError as error:
        raise LivemanError(f"{option} {error}.") from None
    return address, (parts.hostname or "", parts.port or 80)
