-- Every recording that a node has made. Times are microseconds since 1970; `folder` holds all its objects.
CREATE TABLE recording_sessions (
    node TEXT NOT NULL,
    stream TEXT NOT NULL,
    record TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT,
    duration_ms BIGINT,
    folder TEXT NOT NULL,
    mpd_path TEXT NOT NULL,
    status TEXT NOT NULL,
    -- Of all its objects; NULL: nobody has looked.
    bytes BIGINT,
    PRIMARY KEY (node, stream, record)
);

CREATE INDEX recording_sessions_by_time ON recording_sessions (stream, start_us, node, record);
CREATE INDEX recording_sessions_by_folder ON recording_sessions (folder, stream);
CREATE INDEX recording_sessions_by_age ON recording_sessions (start_us, node, record);
