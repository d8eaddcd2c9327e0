-- Version 5: what a journal that was restored from a backup is in doubt of; which configurations
-- were accepted.

-- Tasks that were open at the time of the backup: what became of them since is unknown, until a
-- node shows them or an operator decides.
CREATE TABLE doubts (
    task BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Attempts that an operator let go: a node that still holds one stops it.
CREATE TABLE outcasts (
    task      BLOB NOT NULL,
    attempt   INTEGER NOT NULL,
    node      TEXT NOT NULL,
    principal TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (task, attempt, node)
) STRICT, WITHOUT ROWID;

-- `cause` is what made it: start, set, unset, reload or rollback. `request_key` (empty or 16 bytes)
-- answers a request that is sent again. `body` is a msgpack document, see `config_versions.py`.
CREATE TABLE config_versions (
    version     INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    author      TEXT NOT NULL,
    cause       TEXT NOT NULL,
    request_key BLOB NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX config_versions_by_key ON config_versions (author, request_key)
    WHERE request_key != x'';

-- Attempts that ran in a batch, and of how many calls that was.
CREATE TABLE batched (
    task   BLOB NOT NULL,
    number INTEGER NOT NULL,
    calls  INTEGER NOT NULL,
    PRIMARY KEY (task, number)
) STRICT, WITHOUT ROWID;

-- What operators asked of named handlers.
-- `node` is empty for all nodes. `since_ms` 0: it takes calls; `reload` 0: none is left to do.
CREATE TABLE handler_orders (
    handler   TEXT NOT NULL,
    node      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    principal TEXT NOT NULL,
    since_ms  INTEGER NOT NULL,
    reload    INTEGER NOT NULL,
    PRIMARY KEY (handler, node)
) STRICT, WITHOUT ROWID;
