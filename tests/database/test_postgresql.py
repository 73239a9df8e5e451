"""PostgreSQL alone: it goes away and comes back, wrong URLs, other users, TLS. The port is in test_port."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from liveman.config import Secret
from liveman.database import open_database
from liveman.errors import DatabaseError
from support.link import Link
from support.postgres import Postgres

ONE = "SELECT 1 AS one"


@pytest.fixture
def name(postgres: Postgres) -> Iterator[str]:
    """A database, where a schema would not do."""
    with postgres.database() as name:
        yield name


async def works(database: object) -> bool:
    return bool(await database.fetch_one(ONE) == {"one": 1})  # type: ignore[attr-defined]


# Away and back


async def test_it_is_used_again_after_a_restart(postgres: Postgres, postgres_url: str) -> None:
    """Each call fails at once while it is away, transactions included; nothing here is started anew."""
    async with open_database(postgres_url) as database:
        await asyncio.gather(*(database.fetch_one("SELECT pg_sleep(0.01)") for _ in range(10)))
        await asyncio.to_thread(postgres.stop)
        try:
            for _ in range(12):
                with pytest.raises(DatabaseError, match=r"cannot be reached|has closed"):
                    await database.fetch_one(ONE)
                with pytest.raises(DatabaseError, match=r"cannot be reached|has closed"):
                    async with database.transaction():
                        raise AssertionError
        finally:
            await asyncio.to_thread(postgres.start)
        assert all(await asyncio.gather(*(works(database) for _ in range(20))))


async def test_a_call_that_its_end_interrupts_fails_and_the_next_one_works(
    postgres: Postgres, postgres_url: str
) -> None:
    async with open_database(postgres_url) as database:
        waiting = [asyncio.create_task(database.execute("SELECT pg_sleep(60)")) for _ in range(5)]
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
        )
        async with asyncio.timeout(10):
            while not all(task.done() for task in waiting):
                await asyncio.to_thread(postgres.sql, kill)
        for task in waiting:
            with pytest.raises(DatabaseError, match="has closed the connection"):
                await task
        assert all(await asyncio.gather(*(works(database) for _ in range(20))))


async def test_a_transaction_that_its_end_interrupts_is_undone(postgres: Postgres, postgres_url: str) -> None:
    async with open_database(postgres_url) as database:
        await database.execute("CREATE TABLE x (y INTEGER)")
        with pytest.raises(DatabaseError):
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO x VALUES (1)")
                row = await transaction.fetch_one("SELECT pg_backend_pid() AS pid")
                assert row
                await asyncio.to_thread(postgres.sql, f"SELECT pg_terminate_backend({row['pid']})")
                await transaction.execute("INSERT INTO x VALUES (2)")
        async with database.transaction() as transaction:
            assert await transaction.fetch_all("SELECT * FROM x") == []


async def test_silence_has_an_end_for_all_at_once(
    postgres: Postgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that died without a word are found by the first call that gets no answer, not one by one."""
    monkeypatch.setattr("liveman.database.postgresql._STATEMENT_SECONDS", 0.3)
    monkeypatch.setattr("liveman.database.postgresql._CLEANING_SECONDS", 0.1)
    async with Link.to(postgres.port) as link:
        url = postgres.url(name, port=link.port)
        async with open_database(url, connect_timeout=2, max_connections=4) as database:
            await asyncio.gather(*(database.fetch_one("SELECT pg_sleep(0.02)") for _ in range(4)))
            link.silence()
            with pytest.raises(DatabaseError, match="does not answer"):
                await database.fetch_one(ONE)
            start = time.monotonic()
            with pytest.raises(DatabaseError, match=r"does not answer|was busy"):
                await database.fetch_one(ONE)
            assert time.monotonic() - start < 10
            link.restore()
            link.cut()
            assert all(await asyncio.gather(*(works(database) for _ in range(8))))


async def test_the_start_waits_for_it(postgres: Postgres, postgres_url: str) -> None:
    """Both may be started at the same time."""
    await asyncio.to_thread(postgres.stop)

    async def start() -> bool:
        async with open_database(postgres_url, connect_timeout=20) as database:
            return await works(database)

    starting = asyncio.create_task(start())
    await asyncio.sleep(0)
    try:
        assert not starting.done()
    finally:
        await asyncio.to_thread(postgres.start)
    assert await starting


async def test_the_start_does_not_wait_for_ever(postgres: Postgres) -> None:
    with pytest.raises(
        DatabaseError, match=r"127\.0\.0\.1:1/d cannot be reached \(.*Connect call failed.*\); start Post"
    ):
        async with open_database("postgresql://u:topsecret@127.0.0.1:1/d", connect_timeout=0.1):
            raise AssertionError


async def test_a_start_that_is_cancelled_ends(postgres: Postgres) -> None:
    before = asyncio.all_tasks()

    async def start() -> None:
        async with open_database("postgresql://127.0.0.1:1/d"):
            raise AssertionError

    starting = asyncio.create_task(start())
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert asyncio.all_tasks() == before


# Turns


async def test_a_transaction_that_gets_no_turn_says_so(postgres_url: str) -> None:
    """So does a call that gets no connection."""
    async with open_database(postgres_url, connect_timeout=0.2) as one:
        async with open_database(postgres_url, connect_timeout=0.2) as two, one.transaction():
            with pytest.raises(DatabaseError, match=r"was busy for 0\.2 s"):
                async with two.transaction():
                    raise AssertionError
            assert await works(two)
    async with open_database(postgres_url, connect_timeout=0.2, max_connections=1) as database:
        async with database.transaction():
            with pytest.raises(DatabaseError, match=r"was busy for 0\.2 s"):
                await database.fetch_one(ONE)


async def test_there_are_never_more_connections_than_configured(postgres: Postgres, name: str) -> None:
    """And the one that is always there."""
    count = f"SELECT count(*) AS n FROM pg_stat_activity WHERE datname = '{name}'"
    async with open_database(postgres.url(name), max_connections=3) as database:
        await asyncio.gather(*(database.fetch_one("SELECT pg_sleep(0.01)") for _ in range(20)))
        assert await database.fetch_one(count) == {"n": 4}


# Logging in


@pytest.fixture
def login(postgres: Postgres) -> Iterator[str]:
    """A user with a password full of special characters, who needs it when he comes by a socket."""
    password = "p@ss:/?#%&+ ü"
    hba = Path(postgres.folder, "data", "pg_hba.conf")
    before = hba.read_text()
    postgres.sql(f"CREATE ROLE guarded LOGIN PASSWORD '{password}'")
    hba.write_text(f"local all guarded scram-sha-256\nhost all guarded all scram-sha-256\n{before}")
    postgres.sql("SELECT pg_reload_conf()")
    yield f"guarded:{quote(password, safe='')}"
    hba.write_text(before)
    postgres.sql("SELECT pg_reload_conf()")
    postgres.sql("DROP ROLE guarded")


async def test_a_percent_encoded_password_opens_it(postgres: Postgres, login: str, name: str) -> None:
    """By TCP and by a Unix socket, in both ways to write its folder."""
    postgres.sql(f"ALTER DATABASE {name} OWNER TO guarded")
    folder = quote(postgres.folder, safe="")
    for url in (
        postgres.url(name, login=login),
        postgres.url(name, login=login).replace("postgresql:", "postgres:"),
        f"postgresql://{login}@{folder}:{postgres.port}/{name}",
        f"postgresql://{login}@/{name}?host={folder}&port={postgres.port}",
    ):
        async with open_database(Secret(url)) as database:
            assert await database.fetch_one("SELECT current_user AS u") == {"u": "guarded"}


async def test_a_wrong_password_is_told_at_once_and_not_shown(postgres: Postgres, login: str) -> None:
    url = postgres.url("postgres", login="guarded:topsecret")
    with pytest.raises(
        DatabaseError, match=r"does not let Liveman in .*correct the user and the pass"
    ) as caught:
        async with open_database(url, connect_timeout=3600):
            raise AssertionError
    assert "topsecret" not in str(caught.value)


async def test_a_missing_database_is_told_at_once(postgres: Postgres) -> None:
    with pytest.raises(DatabaseError, match="/nowhere does not exist; create it"):
        async with open_database(postgres.url("nowhere"), connect_timeout=3600):
            raise AssertionError


async def test_a_missing_right_is_told(postgres: Postgres, login: str, name: str) -> None:
    """Since version 15 not everyone may make tables in every database."""
    with pytest.raises(
        DatabaseError, match=r"does not allow it \(permission denied for schema public\); grant"
    ):
        async with open_database(postgres.url(name, login=login)):
            raise AssertionError


async def test_a_database_that_cannot_be_written_is_refused_at_the_start(
    postgres: Postgres, name: str
) -> None:
    """Such as a standby; not at the first recording, hours later."""
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseError, match="cannot be written: it is a standby, or read-only"):
        async with open_database(postgres.url(name)):
            raise AssertionError


# TLS


@pytest.fixture
def certificate(postgres: Postgres, tmp_path: Path) -> Iterator[Path]:
    """The server's own, which it shows from now on."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    postgres.keep("server.crt", pem)
    postgres.keep("server.key", private)
    postgres.sql("ALTER SYSTEM SET ssl = on")
    postgres.sql("SELECT pg_reload_conf()")
    path = tmp_path / "ca.pem"
    path.write_bytes(pem)
    yield path
    postgres.sql("ALTER SYSTEM SET ssl = off")
    postgres.sql("SELECT pg_reload_conf()")


async def test_tls_is_spoken_and_judged_as_the_url_says(
    postgres: Postgres, name: str, certificate: Path
) -> None:
    encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    url = postgres.url(name)
    by_name = url.replace("127.0.0.1", "localhost")
    for end, expected in (
        (f"{url}?sslmode=disable", False),
        (url, True),
        (f"{url}?sslmode=require", True),
        (f"{url}?sslmode=verify-ca&sslrootcert={certificate}", True),
        (f"{by_name}?sslmode=verify-full&sslrootcert={certificate}", True),
    ):
        async with open_database(end) as database:
            assert await database.fetch_one(encrypted) == {"ssl": expected}
    for end, problem in (
        (
            f"{url}?sslmode=verify-full&sslrootcert={certificate}",
            "cannot be reached by TLS .*CERTIFICATE_VERIFY",
        ),
        (f"{by_name}?sslmode=verify-full", "cannot be reached: root certificate file"),
        (f"{by_name}?sslmode=verify-full&sslrootcert=/nowhere", "whose sslrootcert is no file: /nowhere"),
    ):
        with pytest.raises(DatabaseError, match=problem):
            async with open_database(end, connect_timeout=1):
                raise AssertionError


async def test_tls_that_the_server_has_not_is_refused(postgres: Postgres, name: str) -> None:
    with pytest.raises(DatabaseError, match=r"cannot be reached .*SSL"):
        async with open_database(f"{postgres.url(name)}?sslmode=require", connect_timeout=0.1):
            raise AssertionError
