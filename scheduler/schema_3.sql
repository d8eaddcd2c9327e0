-- Version 3: invitations.

-- One-time keys: each lets its holder enrol once. `name` is empty where the newcomer chooses it,
-- `spent_by` is the key that was admitted. Rows stay a while, so that latecomers are told why.
CREATE TABLE invites (
    public_key   TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    role         TEXT NOT NULL,
    principal    TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL,
    withdrawn_ms INTEGER NOT NULL DEFAULT 0,
    spent_ms     INTEGER NOT NULL DEFAULT 0,
    spent_by     TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
