"""``liveman token``: a token for those who have no account."""

import asyncio
import secrets
import time

import click

from liveman import logs
from liveman.app import load_config
from liveman.auth.revocation import LONGEST_SECONDS
from liveman.auth.routes import TokenRequest, scope
from liveman.auth.tokens import Tokens
from liveman.config import Config
from liveman.database import cluster_secret, open_database
from liveman.database_url import Sqlite, parse_database_url
from liveman.errors import LivemanError

__all__ = ["token"]


@click.command()
@click.option("-c", "--config", "path", help="The configuration; as for `liveman` itself.")
@click.option("--id", "stream", metavar="STREAM", required=True, help='The stream that it is for; "*": all.')
@click.option("--duration", type=click.IntRange(1, LONGEST_SECONDS), required=True, help="Its life, seconds.")
@click.option("--publish", is_flag=True, help="It may publish.")
@click.option("--subscribe", is_flag=True, help="It may watch.")
@click.option("--admin", is_flag=True, help="It may change nodes, streams and tokens.")
@click.pass_obj
def token(
    outer: str | None,
    path: str | None,
    stream: str,
    duration: int,
    publish: bool,
    subscribe: bool,
    admin: bool,
) -> None:
    """Print a token (JWT), signed with auth.secret, else with the secret that is kept in the database."""
    try:
        asked = TokenRequest(scope(stream), duration, subscribe=subscribe, publish=publish, admin=admin)
    except ValueError as error:
        raise LivemanError(f"--id {error}") from None
    if not asked.mode:
        raise LivemanError("The token would permit nothing; say --publish, --subscribe or --admin.")
    logs.configure("warn")
    text, name = asyncio.run(_made(load_config(path or outer), asked))
    click.echo(text)
    click.echo(f"Its id, by which it can be revoked, is {name}.", err=True)


async def _made(config: Config, asked: TokenRequest) -> tuple[str, str]:
    """A token and its id."""
    secret = b""
    if not config.auth.secret:
        url = config.database.url.reveal()
        if parse_database_url(url) == Sqlite(None):
            raise LivemanError(
                "auth.secret is empty, and a database in memory keeps none to sign with; set it."
            )
        async with open_database(url, connect_timeout=config.database.connect_timeout) as database:
            secret = await cluster_secret(database, secrets.token_bytes)
    tokens = Tokens(config.auth, own_secret=secret)
    text = tokens.make(stream=asked.id, mode=asked.mode, expires_at=time.time() + asked.duration)
    return text, (await tokens.identify(text)).token_id
