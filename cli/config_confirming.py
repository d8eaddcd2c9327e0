"""What did a change of the configuration do, and who goes by it? Told until all have confirmed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import screen
from .commands import Session, command
from .interrupts import INTERRUPTED, raising_interrupts
from .task_options import duration_s
from .writing import counted

if TYPE_CHECKING:
    from ..client.connection import Connection

REFUSED, TIMED_OUT = 1, 124
NAMED_MAX = 10
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether, and for how long, to wait for nodes."""

    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until all have confirmed.")
    ] = False
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="Wait so long at most (default: 15s).")
    ] = ""

    def __post_init__(self) -> None:
        self.timeout_s()  # what is wrong with it is said before anything changes

    def timeout_s(self) -> float:
        """Return how long to wait at most; raises Invalid."""
        from ..client import configuring

        given = duration_s("wait", self.wait)
        return configuring.CONFIRM_S if given is None else given


def told(session: Session, link: Connection, answer: Document, waiting: Waiting) -> int:
    """Say what a change did, wait for the nodes; return the exit code."""
    if not (session.json or session.quiet):
        _say_changed(link.cluster, answer)
    state: Document = {"behind": []}
    is_over = True
    if not (answer["dry_run"] or waiting.no_wait):
        state, is_over = _confirmed(session, link, int(answer["version"]), waiting.timeout_s())
    if session.json:
        late = {"behind": list(state["behind"]), "store": state.get("store") or {}}
        screen.document({"cluster": link.cluster, **answer, **late})
    elif session.quiet:
        screen.line(str(answer["version"]))
    elif "nodes" in state:
        for line in lines_of(state):
            screen.line(f"{link.cluster}: {line}")
    if not is_over:
        screen.remark("stopped looking; the change holds")
        return INTERRUPTED
    return exit_code(state)


def exit_code(state: Document) -> int:
    """Return 1 where a node or the store refuses, 124 where one did not say anything in time."""
    from ..client import configuring

    states = {each["state"] for each in configuring.late(state)}
    return REFUSED if "refused" in states else TIMED_OUT if "behind" in states else 0


def lines_of(state: Document) -> list[str]:
    """Say how many go by the newest version, and name the others with the reason."""
    from ..client import configuring

    nodes, late = int(state["nodes"]), int(state["behind_total"])
    named = configuring.late(state)
    stores_late = len(named) - len(state["behind"])
    confirmed = [_confirming(nodes, late)] if nodes else []
    if state.get("store") and not stores_late:
        confirmed.append("the store")
    found = [f"confirmed by {' and '.join(confirmed)}"] if confirmed else []
    if not nodes:
        found.append("no node is known yet; each hears of it when it joins")
    found += [f"  {each['name']}: {each['state']}: {each['why']}" for each in named[:NAMED_MAX]]
    more = late + stores_late - NAMED_MAX
    if more > 0:
        found.append(f"  and {more:,} more (`remuda config status`)")
    return found


def _confirming(nodes: int, late: int) -> str:
    if late:
        return f"{nodes - late:,} of {counted(nodes, 'node')}"
    return "1 node" if nodes == 1 else f"all {nodes:,} nodes"


def _say_changed(cluster: str, answer: Document) -> None:
    from .config_changes import difference

    would = "would change" if answer["dry_run"] else "changed"
    changed = list(answer["changed"])
    if not changed:
        screen.line(f"{cluster}: version {answer['version']}: nothing is different")
    else:
        number = "" if answer["dry_run"] else f"version {answer['version']}: "
        screen.line(f"{cluster}: {number}{would} {counted(len(changed), 'value')}")
    for each in changed:
        screen.line(f"  {difference(each)} ({each['effect']})")
    for note in answer["notes"]:
        screen.line(f"  {note}")


def _confirmed(
    session: Session, link: Connection, version: int, timeout_s: float
) -> tuple[Document, bool]:
    """Wait for the nodes; tell with their state whether nobody interrupted us."""
    from ..client import configuring

    shows = sys.stderr.isatty() and not (session.quiet or session.json)

    def tell(confirmed: int, nodes: int) -> None:
        if shows and confirmed < nodes:
            sys.stderr.write(f"\r\x1b[Kconfirmed by {confirmed:,} of {counted(nodes, 'node')}")
            sys.stderr.flush()

    try:
        with raising_interrupts():
            return configuring.wait_confirmed(link, version, timeout_s, tell), True
    except KeyboardInterrupt:
        return configuring.state(link), False
    finally:
        if shows:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@command("config status", example="remuda config status\nremuda config status --json")
def config_status(session: Session) -> int:
    """Show which version holds, what waits for a restart, and who does not go by it.

    Exit code 1: a node or the store refuses it; 124: one has not confirmed yet.
    """
    from ..client import configuring

    with session.connect() as link:
        state = configuring.state(link)
        cluster = link.cluster
    if session.json:
        screen.document({"cluster": cluster, **state})
    elif session.quiet:
        for each in configuring.late(state):
            screen.line(str(each["name"]))
    else:
        profile = f", profile {state['profile']}" if state["profile"] else ""
        screen.line(f"{cluster}: version {state['version']} by {state['author']}{profile}")
        for key in state["waiting"]:
            screen.line(f"  {key} waits for a restart of the scheduler")
        for key in (state.get("store") or {}).get("waiting") or []:
            screen.line(f"  {key} waits for a restart of the store")
        for each in state["restarts"]:
            screen.line(f"  {', '.join(each['waiting'])}: waits for a restart of {each['name']}")
        for line in lines_of(state):
            screen.line(line)
    return exit_code(state)
