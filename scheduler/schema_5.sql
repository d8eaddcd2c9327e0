-- Version 5: what a journal that was restored from a backup is in doubt of.

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
