-- Tokens that are good no more. When they would have expired by themselves: Unix seconds.
CREATE TABLE revoked_tokens (
    token_id TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
