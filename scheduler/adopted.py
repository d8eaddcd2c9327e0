"""Which tasks were adopted after a restore with less than another try would take?

What a node holds says which resources it takes; what it runs, its arguments or the right to read
its files may be gone with the journal. Such a task has the try that lives. A mark in its stored
spec says so to the schedulers to come: nodes are never offered that spec.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..protocol.codec import pack_document, unpack_document
from ..protocol.errors import Conflict
from .events import NewSpec
from .spec_check import check_spec

MARK = "only_try"
"""A key that no TaskSpec has: who submits cannot say it, and who reads a spec drops it."""
UNKNOWN = "what it runs is not known"
NO_ARGUMENTS = "its arguments are not known"
NO_RIGHTS = "the right to read its files was in the journal that is gone"
ADOPTED = f"(adopted: {UNKNOWN})"


def read(said: dict[str, Any], *, is_whole: bool, has_arguments: bool) -> NewSpec:
    """Check what a node says of a task; raises Invalid.

    A node keeps no arguments of what has ended, and an agent that took the task over knows what it
    takes only (`is_whole` says that it knows more).
    """
    if not is_whole:
        bare = {**said, "kind": "command", "argv": [ADOPTED], "name": "adopted"}
        return _with_one_try(bare, UNKNOWN)
    new = check_spec(said, "spec.")
    takes_arguments = said.get("kind") != "command" or said.get("array") or said.get("each")
    if takes_arguments and not has_arguments:
        return _with_one_try(said, NO_ARGUMENTS)
    if new.digests or said.get("objects"):
        return _with_one_try(said, NO_RIGHTS)
    return new


def _with_one_try(said: dict[str, Any], why: str) -> NewSpec:
    """Have its own failure end a task as what it is; one that loses its try ends as `restored`."""
    new = check_spec({**said, "retries": 0, "if_node_lost": "rerun"}, "spec.")
    body = pack_document({**unpack_document(new.body), MARK: why})
    return new._replace(body=body, policy=replace(new.policy, only_try=why))


def why_only(document: dict[str, Any]) -> str:
    """Say of a stored spec why it is never offered; empty when it may be."""
    return str(document.get(MARK, ""))


def check_copied(document: dict[str, Any], number: int) -> None:
    """Raise Conflict for a spec of which a copy could not run either."""
    if why := why_only(document):
        raise Conflict(
            f"task {number} was adopted after a restore, and {why}: submit it anew", field="tasks"
        )
