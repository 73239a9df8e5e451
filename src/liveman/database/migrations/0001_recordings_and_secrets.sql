-- The index of recordings: for each stream and day (UTC) its newest manifest.
-- Ids are UUIDs as text, times ISO 8601 in UTC.
CREATE TABLE recordings (
    id TEXT NOT NULL PRIMARY KEY,
    stream TEXT NOT NULL,
    year INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL,
    mpd_path TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE UNIQUE INDEX recordings_by_day ON recordings (stream, year, month, day);

-- What was made at random once and must be the same for every instance, and after a restart.
CREATE TABLE cluster_secrets (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    created_at TEXT NOT NULL
);
