"""How full is the store, and what does it do?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..protocol.resources import format_bytes
from . import screen
from .commands import Session, command
from .writing import age, counted

OWNERS_SHOWN_MAX = 20
Document = Mapping[str, Any]


@command("store status", example="remuda store status\nremuda store status --json | jq .bytes")
def store_status(session: Session) -> None:
    """Show how full the store is, what moves, and whose objects they are."""
    from ..client.store_state import store_state

    with session.connect() as link:
        body = store_state(link)
    if session.json:
        screen.document(body)
        return
    if body["problem"]:
        screen.remark(f"problem: {body['problem']}")
    screen.facts(_facts(body))
    owners = list(body["by_owner"].items())[:OWNERS_SHOWN_MAX]
    if owners:
        screen.line()
        rows = [[name, format_bytes(size)] for name, size in owners]
        screen.table((screen.Column("PUT BY"), screen.Column("BYTES", right=True)), rows)


def _facts(body: Document) -> Iterator[tuple[str, str]]:
    puts, gets, partial = body["puts"], body["gets"], body["partial"]
    yield "kept in", str(body["where"])
    used = f"{format_bytes(body['bytes'])} of {format_bytes(body['quota_bytes'])}"
    yield "objects", f"{body['objects']:,}, {used}"
    yield "disk", f"{format_bytes(body['disk_free_bytes'])} free"
    yield "claimed", f"{body['claimed']:,}"
    yield "coming in", _moving(puts)
    yield "going out", _moving(gets)
    yield "broken off", f"{counted(partial['files'], 'file')}, {format_bytes(partial['bytes'])}"
    last = body["collected_ms"]
    when = f"{age(time.time() - last / 1000)} ago" if last else "not yet"
    yield "collected", f"{when}, {counted(body['removed'], 'object')} removed since the start"


def _moving(side: Document) -> str:
    return f"{side['active']} active, {side['waiting']} waiting"
