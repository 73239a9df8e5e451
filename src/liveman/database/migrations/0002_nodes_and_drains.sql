-- The nodes that were added at run time. The token stands here as it was given.
CREATE TABLE cluster_nodes (
    alias TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    token TEXT NOT NULL,
    mode TEXT NOT NULL,
    pub_max INTEGER NOT NULL,
    sub_max INTEGER NOT NULL
);

-- The nodes that are being emptied, of whatever kind. Times are Unix time in seconds.
CREATE TABLE cluster_drains (
    alias TEXT NOT NULL PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL,
    deadline DOUBLE PRECISION,
    close_subscribers INTEGER NOT NULL
);
