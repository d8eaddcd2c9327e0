-- Version 2: why a task is stopped, what it used up and what it asks for since; drains and losses.

ALTER TABLE tasks ADD COLUMN stop INTEGER NOT NULL DEFAULT 0;
-- Tries by class of failure, beside the task's own: `memory=1 node_lost=2`.
ALTER TABLE tasks ADD COLUMN spent TEXT NOT NULL DEFAULT '';
-- What it asks for since it ran out of it; 0: what was submitted.
ALTER TABLE tasks ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN vram_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE tasks SET stop = 1 WHERE state = 4;

ALTER TABLE nodes ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN drained_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN drain_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN drain_due_ms INTEGER NOT NULL DEFAULT 0;
-- What it spoke when it registered last: one of version 1 stops no fenced task by itself.
ALTER TABLE nodes ADD COLUMN protocol INTEGER NOT NULL DEFAULT 1;
