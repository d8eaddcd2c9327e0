-- Version 3: which objects of the store are referred to, and who was invited.

-- Digests with sizes, one after the other (40 bytes each).
ALTER TABLE specs ADD COLUMN objects BLOB NOT NULL DEFAULT x'';
ALTER TABLE tasks ADD COLUMN objects BLOB NOT NULL DEFAULT x'';
ALTER TABLE results ADD COLUMN objects BLOB NOT NULL DEFAULT x'';

-- `holder` is the id of a task (16 bytes) or of a spec (8 bytes): what it names must be kept.
CREATE TABLE object_refs (
    holder BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (holder, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_refs_by_digest ON object_refs (digest);

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
