"""Named queries: each says what it is for, is understood by both databases, and is answered from an index."""

import re
from importlib import resources

import pytest

from liveman.database import load_queries, open_database
from support.databases import is_sqlite

ROOMS = ["liveman.recording"]
#: Reading that is about all rows, or about a table that is small.
WHOLE = {"streams"}


@pytest.mark.parametrize("room", ROOMS)
def test_each_query_says_what_it_is_for(room: str) -> None:
    text = resources.files(room).joinpath("queries.sql").read_text("utf-8")
    assert re.findall(r"^-- name: (\w+)\n-- \S", text, re.MULTILINE) == list(load_queries(room))


def test_a_name_that_is_there_twice_is_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from liveman.database import queries

    class Twice:
        def joinpath(self, _name: str) -> "Twice":
            return self

        def read_text(self, _encoding: str) -> str:
            return "-- name: a\n-- What.\nSELECT 1;\n\n-- name: a\n-- What.\nSELECT 2;\n"

    monkeypatch.setattr(queries.resources, "files", lambda _package: Twice())
    with pytest.raises(ValueError, match="a is there twice"):
        load_queries("anywhere")


@pytest.mark.parametrize("room", ROOMS)
async def test_both_databases_understand_each_query(room: str, database_url: str) -> None:
    """None reads a whole table where it asks for few rows."""
    async with open_database(database_url) as database:
        for name, sql in load_queries(room).items():
            count = max((int(number) for number in re.findall(r"\$(\d+)", sql)), default=0)
            async with database.transaction() as transaction:
                if is_sqlite(database_url):
                    plan = await transaction.fetch_all(f"EXPLAIN QUERY PLAN {sql}", [None] * count)
                    steps = [str(row["detail"]) for row in plan]
                else:
                    for setting in ("enable_seqscan = off", "plan_cache_mode = force_generic_plan"):
                        await transaction.execute(f"SET LOCAL {setting}")
                    await transaction.execute(f"PREPARE {name} AS {sql}")
                    values = f"({', '.join(['NULL'] * count)})" if count else ""
                    plan = await transaction.fetch_all(f"EXPLAIN EXECUTE {name}{values}")
                    await transaction.execute(f"DEALLOCATE {name}")
                    steps = [str(row["QUERY PLAN"]).strip() for row in plan]
            scans = [step for step in steps if re.match(r"(-> +)?(SCAN \w+$|Seq Scan)", step)]
            assert name in WHOLE or not [s for s in scans if "known" not in s], (name, steps)
