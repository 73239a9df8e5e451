-- name: put_session
-- A recording as its node tells it now. What has ended stays so: an older answer may come later.
INSERT INTO recording_sessions (node, stream, record, start_us, end_us, duration_ms, folder, mpd_path, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (node, stream, record) DO UPDATE SET
    start_us = excluded.start_us,
    end_us = COALESCE(excluded.end_us, recording_sessions.end_us),
    duration_ms = COALESCE(excluded.duration_ms, recording_sessions.duration_ms),
    folder = excluded.folder,
    mpd_path = excluded.mpd_path,
    status = CASE
        WHEN excluded.status = 'Active' THEN recording_sessions.status
        ELSE excluded.status
    END;

-- name: drop_found
-- A recording that was found in the storage, now that its node tells of it: $1 is the folder, $2 the manifest.
DELETE FROM recording_sessions WHERE folder = $1 AND mpd_path = $2 AND node = '';

-- name: put_day
-- The day's newest manifest of a stream that has a recording then: $2 to $4 are the day, $5 to $6 its first and
-- last microsecond.
INSERT INTO recordings (id, stream, year, month, day, mpd_path, created_at, updated_at)
VALUES (
    $7, $1, $2, $3, $4,
    (
        SELECT newest.mpd_path FROM recording_sessions AS newest
        WHERE newest.stream = $1 AND newest.start_us BETWEEN $5 AND $6
        ORDER BY newest.start_us DESC, newest.node DESC, newest.record DESC
        LIMIT 1
    ),
    $8, $8
)
ON CONFLICT (stream, year, month, day) DO UPDATE SET
    mpd_path = excluded.mpd_path,
    updated_at = excluded.updated_at
WHERE recordings.mpd_path <> excluded.mpd_path;

-- name: streams
-- The streams that have recordings, by name.
WITH RECURSIVE known (stream) AS (
    SELECT MIN(stream) FROM recording_sessions
    UNION ALL
    SELECT (SELECT MIN(later.stream) FROM recording_sessions AS later WHERE later.stream > known.stream)
    FROM known
    WHERE known.stream IS NOT NULL
)
SELECT stream FROM known WHERE stream IS NOT NULL ORDER BY stream;

-- name: days
-- The days on which a stream's recordings began, in order.
SELECT year, month, day FROM recordings WHERE stream = $1 ORDER BY year, month, day;

-- name: page
-- A stream's recordings that began from $2 to $3, the newest first, after the one that $4 to $6 name.
SELECT node, stream, record, start_us, end_us, duration_ms, mpd_path, status, bytes
FROM recording_sessions
WHERE stream = $1 AND start_us BETWEEN $2 AND $3 AND (start_us, node, record) < ($4, $5, $6)
ORDER BY start_us DESC, node DESC, record DESC
LIMIT $7;

-- name: streams_of_folder
-- Whose recordings lie in a folder: one stream, unless somebody lies.
SELECT DISTINCT stream FROM recording_sessions WHERE folder = $1 LIMIT 2;

-- name: oldest
-- The recordings that have ended and began before $1, the oldest first, after the one that $2 to $4 name.
SELECT node, stream, record, start_us, end_us, duration_ms, mpd_path, status, bytes
FROM recording_sessions
WHERE start_us < $1 AND status <> 'Active' AND (start_us, node, record) > ($2, $3, $4)
ORDER BY start_us, node, record
LIMIT $5;

-- name: put_bytes
-- How large a recording is that has ended.
UPDATE recording_sessions SET bytes = $4 WHERE node = $1 AND stream = $2 AND record = $3;

-- name: others_in_folder
-- Another recording that lies in the same folder, as older nodes made them.
SELECT 1 AS found FROM recording_sessions
WHERE folder = $1 AND NOT (node = $2 AND stream = $3 AND record = $4) LIMIT 1;

-- name: has_manifest
-- Whether a manifest is that of a recording in the index.
SELECT 1 AS found FROM recording_sessions WHERE folder = $1 AND mpd_path = $2 LIMIT 1;

-- name: drop_session
-- Its objects are gone.
DELETE FROM recording_sessions WHERE node = $1 AND stream = $2 AND record = $3;

-- name: has_day
-- Whether a stream has a recording that began from $2 to $3.
SELECT 1 AS found FROM recording_sessions WHERE stream = $1 AND start_us BETWEEN $2 AND $3 LIMIT 1;

-- name: drop_day
-- The day of a stream that has no recording any more.
DELETE FROM recordings WHERE stream = $1 AND year = $2 AND month = $3 AND day = $4;
