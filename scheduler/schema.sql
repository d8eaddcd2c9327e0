-- What survives a crash: schema version 1.
--
-- Ids are ULIDs of 16 bytes, so that new rows go to the end of every tree. Times are milliseconds
-- of the Unix epoch. `tasks.state` holds the durable position alone (waiting 0, queued 1,
-- stopping 4, succeeded 5, failed 6, cancelled 7): a task with an attempt that has not ended is on
-- a node, whatever its row says.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per submission frame: a resent frame is answered from here, not repeated.
CREATE TABLE submissions (
    principal    TEXT NOT NULL,
    submit_key   BLOB NOT NULL,
    batch        BLOB,
    batch_key    BLOB,
    offset       INTEGER NOT NULL,
    first_number INTEGER NOT NULL,
    members      INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    PRIMARY KEY (principal, submit_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX submissions_by_batch ON submissions (batch) WHERE batch IS NOT NULL;
CREATE INDEX submissions_by_batch_key ON submissions (principal, batch_key)
    WHERE batch_key IS NOT NULL;

-- Idempotency keys of single tasks; they outlive their task.
CREATE TABLE once_keys (
    owner      TEXT NOT NULL,
    key        TEXT NOT NULL,
    task       BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE specs (
    spec_id INTEGER PRIMARY KEY,
    body    BLOB NOT NULL
) STRICT;

CREATE TABLE tasks (
    id         BLOB PRIMARY KEY,
    number     INTEGER NOT NULL,
    batch      BLOB,
    spec_id    INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    session    BLOB NOT NULL,
    state      INTEGER NOT NULL,
    code       TEXT NOT NULL DEFAULT '',
    charged    INTEGER NOT NULL DEFAULT 0,
    due_ms     INTEGER NOT NULL DEFAULT 0,
    grace_ms   INTEGER NOT NULL DEFAULT -1,
    avoid      TEXT NOT NULL DEFAULT '',
    retry_of   BLOB,
    created_ms INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL DEFAULT 0,
    args       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_by_number ON tasks (number);
CREATE INDEX tasks_by_spec ON tasks (spec_id);
CREATE INDEX tasks_open ON tasks (number) WHERE state < 5;
CREATE INDEX tasks_unsuccessful ON tasks (state, number) WHERE state > 5;
CREATE INDEX tasks_ended ON tasks (ended_ms) WHERE ended_ms > 0;

-- `late_ms` marks an attempt whose result came after it had ended.
CREATE TABLE attempts (
    task       BLOB NOT NULL,
    number     INTEGER NOT NULL,
    node       TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    gpus       TEXT NOT NULL,
    granted_ms INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL DEFAULT 0,
    run_us     INTEGER NOT NULL DEFAULT 0,
    outcome    TEXT NOT NULL DEFAULT '',
    code       TEXT NOT NULL DEFAULT '',
    message    TEXT NOT NULL DEFAULT '',
    late_ms    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

-- What a task returned, and what it printed (a msgpack document).
CREATE TABLE results (
    task    BLOB PRIMARY KEY,
    value   BLOB NOT NULL,
    details BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    name         TEXT PRIMARY KEY,
    boot_id      TEXT NOT NULL,
    capabilities BLOB NOT NULL,
    seen_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ports (
    node TEXT PRIMARY KEY,
    port INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    public_key TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- One row per request that changed something; `hash` chains each row to the one before.
CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    principal TEXT NOT NULL,
    verb      TEXT NOT NULL,
    subject   TEXT NOT NULL,
    hash      BLOB NOT NULL
) STRICT;
