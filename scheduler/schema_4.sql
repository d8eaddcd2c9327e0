-- Version 4: what was granted and measured of GPUs, what was learned of it, and which get no work.

-- What an attempt was granted, where its spec does not say it; and the most VRAM that was measured
-- of it on one card (-1: it was not).
ALTER TABLE attempts ADD COLUMN asked BLOB NOT NULL DEFAULT x'';
ALTER TABLE attempts ADD COLUMN vram_peak_bytes INTEGER NOT NULL DEFAULT -1;

-- What a task's arguments make of the expressions of its spec.
ALTER TABLE tasks ADD COLUMN sized_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN size_class INTEGER NOT NULL DEFAULT 0;

-- What tasks alike were seen to need (a msgpack document).
CREATE TABLE learned (
    key        TEXT PRIMARY KEY,
    body       BLOB NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- GPUs that get no work; `principal` is empty where their health alone is the reason, `lifting`
-- names who gives it back while its node still states the faults.
CREATE TABLE cordons (
    uuid      TEXT PRIMARY KEY,
    node      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    principal TEXT NOT NULL,
    since_ms  INTEGER NOT NULL,
    lifting   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
