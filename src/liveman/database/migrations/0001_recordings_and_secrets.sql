-- The index of recordings: for each stream and day (UTC) its newest manifest.
-- The types are PostgreSQL's; SQLite keeps what it is given: UUIDs as text, times as ISO 8601 in UTC.
CREATE TABLE recordings (
    id UUID NOT NULL PRIMARY KEY,
    stream TEXT NOT NULL,
    year INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL,
    mpd_path TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE UNIQUE INDEX recordings_by_day ON recordings (stream, year, month, day);

-- What was made at random once and must be the same for every instance, and after a restart.
CREATE TABLE cluster_secrets (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL,
    created_at TEXT NOT NULL
);
