"""The forms of a database's URL: what each means, and what is said of those that cannot be."""

import pytest

from liveman.database_url import Postgresql, Sqlite, parse_database_url

DATABASES = [
    ("sqlite://./liveman.db?mode=rwc", Sqlite("./liveman.db", "rwc")),
    ("sqlite://./liveman.db", Sqlite("./liveman.db", "rwc")),
    ("sqlite://liveman.db", Sqlite("liveman.db", "rwc")),
    ("sqlite:liveman.db", Sqlite("liveman.db", "rwc")),
    ("sqlite:///var/lib/liveman.db", Sqlite("/var/lib/liveman.db", "rwc")),
    ("sqlite://./liveman.db?mode=ro", Sqlite("./liveman.db", "ro")),
    ("sqlite://./liveman.db?mode=rw", Sqlite("./liveman.db", "rw")),
    ("sqlite://./with%20blank%3F.db", Sqlite("./with blank?.db", "rwc")),
    ("sqlite://./a@b#c.db", Sqlite("./a@b#c.db", "rwc")),
    ("sqlite://./a.db?", Sqlite("./a.db", "rwc")),
    ("sqlite::memory:", Sqlite(None)),
    ("sqlite://:memory:", Sqlite(None)),
    ("sqlite://x?mode=memory", Sqlite(None)),
    ("postgresql://u:p@localhost:5432/live777", Postgresql("localhost", 5432, "u", "p", "live777")),
    ("postgres://localhost/live777", Postgresql("localhost", database="live777")),
    ("postgresql://", Postgresql()),
    ("postgresql:///d", Postgresql(database="d")),
    ("postgresql://u@h", Postgresql("h", user="u")),
    ("postgresql://u@[::1]:5433/d", Postgresql("::1", 5433, "u", None, "d")),
    (
        "postgres://%C3%BC:p%40%2F%3F%23%25:@+@db_1/d%20e",
        Postgresql("db_1", user="ü", password="p@/?#%:@+", database="d e"),
    ),
    ("postgresql://%2Frun%2FPG:5433/d", Postgresql("/run/PG", 5433, database="d")),
    ("postgresql:///d?host=/run/PG&port=5433", Postgresql("/run/PG", 5433, database="d")),
    (
        "postgresql://h?user=u&password=a%26b&dbname=d&sslmode=verify-full&sslrootcert=/ca.pem",
        Postgresql("h", None, "u", "a&b", "d", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
    ),
    (
        "postgres://h/d?ssl-mode=require&ssl-root-cert=/ca.pem&application_name=x",
        Postgresql(
            "h",
            database="d",
            options={"sslmode": "require", "sslrootcert": "/ca.pem", "application_name": "x"},
        ),
    ),
]

BAD_DATABASES = [
    ("", 'must begin with "sqlite:" or "postgresql://"'),
    ("liveman.db", 'must begin with "sqlite:" or "postgresql://"'),
    ("mysql://u:topsecret@h/d", 'must begin with "sqlite:" or "postgresql://"'),
    ("SQLITE://x", 'must begin with "sqlite:" or "postgresql://"'),
    ("postgresql:/x", 'must begin with "sqlite:" or "postgresql://"'),
    ("sqlite:", "names no file"),
    ("sqlite://", "names no file"),
    ("sqlite://?mode=rwc", "names no file"),
    ("sqlite:///var/lib/", "names no file"),
    ("sqlite://x.db?mode=", "unknown mode"),
    ("sqlite://x.db?mode=wr", "unknown mode"),
    ("sqlite://x.db?cache=shared", "parameter that is not known"),
    ("sqlite://x.db?mode=rwc&password=topsecret", "parameter that is not known"),
    ("sqlite://%ff.db", "not UTF-8"),
    ("sqlite://a%00b.db", "control character"),
    ("sqlite://a\nb.db", "control character"),
    ("postgresql://u:top#secret@h/d", "percent-encode what is special"),
    ("postgresql://u:topsecret/x@h/d", "percent-encode what is special"),
    ("postgresql://u:topsecret?x@h/d", "host or port that cannot be; percent-encode"),
    ("postgresql://u:topsecret@h/d/e", "percent-encode what is special"),
    ("postgresql://u:topsecret@h:5432,i/d", "host or port that cannot be"),
    ("postgresql://u:topsecret@[::1/d", "host or port that cannot be"),
    ("postgresql://u:topsecret@h:0/d", "a port that cannot be"),
    ("postgresql://u:topsecret@h:65536/d", "a port that cannot be"),
    ("postgresql://h/d?password=topsecret&port=x", "a port that cannot be"),
    ("postgresql://u:topsecret%ff@h/d", "not UTF-8"),
    ("postgresql://u:topsecret%00@h/d", "control character"),
    ("postgresql://u:topsecret@h/d?sslmode=always", "unknown sslmode; it is one of disable"),
    ("postgresql://u:topsecret@h/d?topsecret=1", "not known; it is one of host, port"),
]


@pytest.mark.parametrize(("url", "parsed"), DATABASES)
def test_every_form_of_a_database_url_is_understood(url: str, parsed: Sqlite | Postgresql) -> None:
    assert parse_database_url(url) == parsed


def test_the_password_of_a_database_is_shown_nowhere() -> None:
    parsed = parse_database_url("postgresql://u:topsecret@[::1]:5433/d")
    assert isinstance(parsed, Postgresql)
    assert "topsecret" not in repr(parsed)
    assert parsed.where == "[::1]:5433/d"
    assert Postgresql(database="d").where == "PostgreSQL/d"


@pytest.mark.parametrize(("url", "problem"), BAD_DATABASES)
def test_a_bad_database_url_is_refused_by_what_is_wrong(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_database_url(url)
    assert "topsecret" not in str(caught.value)
