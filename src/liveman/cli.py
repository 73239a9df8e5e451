"""The `liveman` command. Without a subcommand it serves."""

import sys
from importlib.metadata import version

import click

from liveman import logs, settings
from liveman.app import create_app, inspect, load_config
from liveman.cli_agent import agent
from liveman.cli_demo import demo
from liveman.cli_recordings import recordings
from liveman.cli_token import token
from liveman.errors import ConfigError, LivemanError
from liveman.ice.installed import installed
from liveman.server import forever, run, serving

__all__ = ["main"]

_CONFIG = click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help="The configuration; without it ./liveman.toml, then /etc/live777/liveman.toml, then the defaults.",
)

#: More of standard input is not read for a password, bytes.
_LONGEST_INPUT = 65_536


@click.group(invoke_without_command=True)
@_CONFIG
@click.option("-v", "--verbose", count=True, help="Log more: -v debug, -vv trace.")
@click.option("--uvloop", is_flag=True, help="Run on uvloop: a little more signalling.")
@click.version_option(version("liveman"), prog_name="liveman")
@click.pass_context
def _liveman(context: click.Context, path: str | None, verbose: int, uvloop: bool) -> None:
    """The manager of a cluster of live777 nodes: WHIP and WHEP through one address."""
    if context.invoked_subcommand is not None:
        context.obj = path
        return
    sys.exit(run(_serve(path, verbose), uvloop=uvloop))


@_liveman.command()
@_CONFIG
@click.pass_obj
def check(outer: str | None, path: str | None) -> None:
    """Print the configuration's faults, or what it amounts to (secrets masked)."""
    report = inspect(path or outer)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    if report.config is None:
        raise ConfigError(*report.faults)
    click.echo(settings.describe(report.config, report.extra_ice))


@_liveman.command()
def providers() -> None:
    """List the ICE providers that are installed, and where they come from."""
    rows = [("NAME", "DISTRIBUTION", "VERSION", "CLASS")]
    found = installed()
    rows += [(each.name, each.distribution, each.version, each.value) for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, problem in zip(rows, ["", *(each.problem for each in found)], strict=True):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        click.echo(line.rstrip() + (f"\n  cannot be used: {problem}" if problem else ""))


@_liveman.command("hash-password")
def hash_password() -> None:
    """Print the argon2id hash of a password, for [[auth.accounts]].

    The password is asked for; where standard input is no terminal, it is read from there.
    """
    from liveman.auth import passwords

    if sys.stdin.isatty():
        text = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = _first_line(sys.stdin.buffer.read(_LONGEST_INPUT))
    try:
        click.echo(passwords.hash_password(text))
    except ValueError as error:
        raise LivemanError(f"The password {error}.") from None


_liveman.add_command(agent)
_liveman.add_command(demo)
_liveman.add_command(recordings)
_liveman.add_command(token)


def main() -> None:
    """The entry point: a LivemanError becomes its text and exit code 1."""
    try:
        _liveman(prog_name="liveman")
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"error: {fault}", err=True)
        sys.exit(1)
    except LivemanError as error:
        click.echo(f"error: {error.detail}", err=True)
        sys.exit(1)


def _first_line(data: bytes) -> str:
    """The one line that there is, without its end."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise LivemanError("The password is not UTF-8.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if "\n" in text or "\r" in text:
        raise LivemanError("The password has several lines; write one.")
    return text


async def _serve(path: str | None, verbose: int) -> int:
    logs.configure("info")
    config = load_config(path)
    logs.configure({0: config.log.level, 1: "debug"}.get(verbose, "trace"))
    log = logs.get_logger("liveman")
    async with serving(create_app(config), config.http.listen) as url:
        log.info("liveman serves", url=url, nodes=len(config.nodes) + config.liveion.count)
        await forever()
    return 0
