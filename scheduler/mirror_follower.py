"""What the mirror process does with what it hears: write it, publish it, or drop it and ask anew.

A line is written over one connection, in order, by one process: an older value never replaces a
newer one. Whatever breaks that order (a failure, a restart, a wiped server) ends the line.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from ..protocol import mirrored
from .mirror_frames import Report, TaskRow, Tasks
from .mirror_redis import Command, RedisFailure

DIAL_S_MIN = 0.1
PUBLISH_EVERY_S = 1.0
REPORT_EVERY_S = 2.0
NEW_LINE_EVERY_S = 2.0
FLEET_TTL_S = 30
MARK = b"line"


class Link(Protocol):
    """The part of a connection that is used here."""

    def write(self, commands: list[Command]) -> None: ...
    def publish(self, key: str, head: bytes, mark: str) -> tuple[bytes, bytes]: ...
    def close(self) -> None: ...


class Follower:
    """Follows the scheduler's frames; `dial` makes a connection or raises RedisFailure."""

    def __init__(
        self,
        hello: dict[str, Any],
        dial: Callable[[], Link],
        report: Callable[[Report], None],
        chance: Random,
    ) -> None:
        self._cluster_id = str(hello["cluster_id"])
        self._epoch = int(hello["epoch"])
        self._ttl_s = int(hello["ttl_s"])
        self._changes_max = int(hello["changes_max"])
        self._longest_s = float(hello["reconnect_s_max"])
        self._dial, self._tell, self._chance = dial, report, chance
        self._link: Link | None = None
        self._state, self._why = "starting", ""
        self._line = 0  # 0: what is told is dropped
        self._line_heard = 0
        self._prefix = ""
        self._rev, self._index, self._at_ms = -1, 0, 0
        self._complete = self._has_news = False
        self._published = b""
        self._commands: list[Command] = []
        self._failures = 0
        self._dial_due_s = self._publish_due_s = self._report_due_s = self._line_due_s = 0.0
        self._wants_line = self._is_spoiled = False
        self._written = self._dropped = 0

    @property
    def due_s(self) -> float:
        """Return when `tend` has something to do."""
        due = min(self._report_due_s, self._publish_due_s if self._complete else self._report_due_s)
        return due if self._link is not None else min(due, self._dial_due_s)

    def hear(self, frame: list[Any]) -> None:
        """Take in one frame; what it asks for is done by the next `flush`."""
        kind, *fields = frame
        if kind == "begin":
            self._begin(int(fields[0]))
        elif self._line == 0:
            self._dropped += len(fields[-1]) if kind == "tasks" else 0
        elif kind == "tasks":
            self._on_tasks(Tasks(*fields))
        elif kind == "complete":
            self._complete = True
            self._rev = max(self._rev, int(fields[0]))
        elif kind == "counts":
            self._set(mirrored.counts_key(self._prefix), fields, FLEET_TTL_S, counts=fields[2])
        elif kind == "nodes":
            for node in fields[2]:
                key = mirrored.node_key(self._prefix, node["name"])
                self._set(key, fields, FLEET_TTL_S, **node)

    def flush(self, now_s: float) -> None:
        """Write what was heard and, on a line that is complete, publish up to where it goes."""
        if self._link is None:
            return
        if self._has_news:
            self._commands.append(("EXPIRE", mirrored.changes_key(self._prefix), self._ttl_s))
            self._has_news = False
        commands = self._commands
        try:
            if commands:
                self._link.write(commands)
                self._written += _values_in(commands)
                self._commands = []
            if self._complete and (commands or now_s >= self._publish_due_s):
                self._publish(self._link, now_s)
        except RedisFailure as failure:
            self._fail(failure, now_s)

    def tend(self, now_s: float) -> None:
        """Dial, publish and report, each when it is time."""
        if self._link is None and now_s >= self._dial_due_s:
            self._connect(now_s)
        self.flush(now_s)
        if now_s >= self._report_due_s:
            self._report(now_s)

    def _connect(self, now_s: float) -> None:
        try:
            self._link = self._dial()
        except RedisFailure as failure:
            self._fail(failure, now_s)
            return
        self._state, self._why = "resyncing", ""
        self._want_line(now_s)

    def _fail(self, failure: RedisFailure, now_s: float) -> None:
        """Give the connection up and dial later; what is told meanwhile is dropped."""
        if self._link is not None:
            self._link.close()
        self._link, self._line = None, 0
        self._complete = self._has_news = False
        self._dropped += _values_in(self._commands)
        self._commands = []
        longest_s = min(DIAL_S_MIN * 2**self._failures, self._longest_s)
        self._failures = min(self._failures + 1, 30)
        self._dial_due_s = now_s + longest_s * self._chance.uniform(0.5, 1.0)
        self._state, self._why = "down", str(failure)
        self._wants_line = False
        self._report(now_s)

    def _begin(self, line: int) -> None:
        self._line_heard = line
        if self._link is None:
            return  # another one is asked for once there is a connection
        self._line, self._published = line, b""
        self._complete = self._has_news = False
        self._prefix = mirrored.line_prefix(self._cluster_id, self._epoch, line)
        self._commands = [("SET", mirrored.mark_key(self._prefix), MARK, "EX", self._ttl_s)]
        self._rev, self._index = -1, 0
        self._wants_line = self._is_spoiled = False
        self._state = "resyncing"

    def _on_tasks(self, told: Tasks) -> None:
        rows = [TaskRow(*row) for row in told.rows]
        changes = mirrored.changes_key(self._prefix)
        self._at_ms = told.at_ms
        for row in rows:
            value = self._value(
                told.rev, told.at_ms, **row._asdict(), created_ms=mirrored.created_ms(row.id)
            )
            key = mirrored.task_key(self._prefix, row.id)
            self._commands.append(("SET", key, value, "EX", self._ttl_s))
            if told.news:
                entry = f"{told.rev}-{self._index}"
                self._index += 1
                self._commands.append(
                    ("XADD", changes, "MAXLEN", "~", self._changes_max, entry, "value", value)
                )
        self._has_news = self._has_news or (told.news and bool(rows))
        if told.whole:
            self._rev, self._index = told.rev, 0

    def _set(self, key: str, stamp: list[Any], ttl_s: int, **fields: Any) -> None:
        value = self._value(int(stamp[0]), int(stamp[1]), **fields)
        self._commands.append(("SET", key, value, "EX", ttl_s))

    def _value(self, rev: int, at_ms: int, **fields: Any) -> bytes:
        return mirrored.pack_value({"epoch": self._epoch, "rev": rev, "at_ms": at_ms} | fields)

    def _publish(self, link: Link, now_s: float) -> None:
        """Say up to where the line is complete; find out whether the server forgot it."""
        head = mirrored.Head(self._epoch, self._line, self._rev, self._at_ms)
        blob = mirrored.pack_value(head._asdict())
        mark = mirrored.mark_key(self._prefix)
        before, marked = link.publish(mirrored.head_key(self._cluster_id), blob, mark)
        self._publish_due_s = now_s + PUBLISH_EVERY_S
        if marked != MARK or self._published not in (b"", before):
            self._is_spoiled = True
        self._published = blob
        if self._is_spoiled and not self._wants_line and now_s >= self._line_due_s:
            self._state, self._why = "resyncing", "the server was wiped, or others write to it"
            self._want_line(now_s)
        elif self._state != "ok" and not self._wants_line:
            self._state, self._why, self._failures = "ok", "", 0
            self._report(now_s)

    def _want_line(self, now_s: float) -> None:
        """Ask for everything anew, until a line begins."""
        self._wants_line = True
        self._line_due_s = now_s + NEW_LINE_EVERY_S
        self._report(now_s)

    def _report(self, now_s: float) -> None:
        self._report_due_s = now_s + REPORT_EVERY_S
        self._tell(
            Report(
                self._state,
                self._why,
                self._line_heard,
                self._wants_line,
                self._written,
                self._dropped,
            )
        )


def _values_in(commands: list[Command]) -> int:
    return sum(command[0] == "SET" for command in commands)
