"""`liveman token`, as an operator runs it."""

import asyncio
import json
import re
import time
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from liveman import LivemanError, create_app, load_config
from liveman.cli import _liveman
from liveman.server import serving
from test_cli import run

SECRET = '[auth]\nsecret = "a secret of the thirty-two bytes that are wanted"\n'
KEPT = '[auth]\ntokens = ["static"]\n[database]\nurl = "sqlite://./liveman.db"\n'
MEMORY = '[database]\nurl = "sqlite::memory:"\n'
GOOD = ("--id", "cam", "--duration", "60", "--subscribe")


def claims(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.parametrize("config", [SECRET + MEMORY, KEPT], ids=["the secret", "the one in the database"])
def test_a_liveman_with_this_configuration_accepts_it(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "liveman.toml").write_text(config)
    made = run("token", *GOOD, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (token,) = made.stdout.splitlines()
    found = claims(token)
    assert found["id"] == "cam" and found["mode"] == 4
    assert time.time() < found["exp"] <= time.time() + 60
    assert re.search(rf"Its id, .*, is {found['jti']}\.", made.stderr)
    monkeypatch.chdir(tmp_path)

    async def shown() -> dict[str, int]:
        statuses = {}
        async with serving(create_app(load_config()), "127.0.0.1:0") as url, ClientSession(url) as client:
            for path in ("/whep/cam", "/whip/cam", "/whep/other"):
                async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                    statuses[path] = response.status
        return statuses

    assert asyncio.run(shown()) == {"/whep/cam": 204, "/whip/cam": 403, "/whep/other": 403}


def test_it_has_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "of-mine.toml").write_text(SECRET + MEMORY)
    for before, after, id, bits, mode in (
        ((), ("-c", "of-mine.toml"), "ä b?", ("--publish",), 2),
        (("-c", "of-mine.toml"), (), "*", ("--admin", "--publish", "--subscribe"), 7),
    ):
        made = run(*before, "token", *after, "--id", id, "--duration", "31536000", *bits, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        assert {name: claims(made.stdout)[name] for name in ("id", "mode")} == {"id": id, "mode": mode}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--duration", "60", "--publish"), "--id"),
        (("--id", "cam", "--publish"), "--duration"),
        (("--id", "cam", "--duration", "60"), "would permit nothing"),
        (("--id", "cam", "--duration", "0", "--publish"), "--duration"),
        (("--id", "cam", "--duration", "31536001", "--publish"), "--duration"),
        (("--id", "cam", "--duration", "1h", "--publish"), "--duration"),
        (("--id", "", "--duration", "60", "--publish"), 'must be "*" or the name of a stream'),
        (("--id", "a/b", "--duration", "60", "--publish"), 'must be "*" or the name of a stream'),
        (("--id", "..", "--duration", "60", "--publish"), 'must be "*" or the name of a stream'),
        (("--id", "a\nb", "--duration", "60", "--publish"), 'must be "*" or the name of a stream'),
    ],
)
def test_what_cannot_be_is_told(arguments: tuple[str, ...], says: str) -> None:
    """Before any file is read."""
    done = CliRunner().invoke(_liveman, ["token", *arguments])
    assert done.exit_code != 0
    error = done.exception.detail if isinstance(done.exception, LivemanError) else done.output
    assert says in error


def test_a_secret_that_nobody_would_know_again_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "liveman.toml").write_text(MEMORY)
    made = run("token", *GOOD, cwd=tmp_path)
    assert made.returncode == 1 and not made.stdout
    assert "auth.secret is empty" in made.stderr


def test_a_configuration_with_faults_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "liveman.toml").write_text('[[auth.accounts]]\nusername = "a\\nb"\npassword = "x"\n')
    made = run("token", *GOOD, cwd=tmp_path)
    assert made.returncode == 1
    assert "auth.accounts[0].username: must be a text of 1 to 255 printable characters" in made.stderr
