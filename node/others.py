"""Can tasks run here as other users: is the helper there, can they reach their directories?"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from ..config.findings import Finding, fine, serious, warning
from ..config.home import make_private_directory
from ..config.settings_node import NodeSettings
from .as_whom import AsWhom
from .run_as import allowed
from .run_as.allowed import Denied
from .runner.lending import PASSAGE_MODE

TOPIC = "run_as"
OWNERS_SHOWN_MAX = 10
REMEDY = "docs/run-as.md has the steps"


def as_whom(node: NodeSettings, node_dir: Path) -> AsWhom:
    """Return what the settings say, and what stands in the way."""
    obstacle = closed_above(node_dir) if node.run_as else ""
    return AsWhom(node.run_as, node.run_as_others, str(node.run_as_socket), obstacle)


def make_directory(folder: Path) -> None:
    """Make a directory of the node's; one through which others pass to their tasks stays so."""
    if not folder.is_dir() or stat.S_IMODE(folder.stat().st_mode) != PASSAGE_MODE:
        make_private_directory(folder)


def open_passage(node: NodeSettings, node_dir: Path) -> None:
    """Let other users pass, seeing nothing, to the directories of their tasks; none: close it."""
    for folder in (node_dir, node_dir / "tasks"):
        if node.run_as:
            folder.chmod(PASSAGE_MODE)
        else:
            make_private_directory(folder)


def closed_above(node_dir: Path) -> str:
    """Name a folder through which other users cannot pass to a node's, or nothing."""
    for folder in node_dir.absolute().parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return (
                f"other users cannot pass through {folder} to the directories of tasks: "
                "set [node] state_dir to a directory outside of it"
            )
    return ""


def of_run_as(node: NodeSettings, node_dir: Path, file: Path = allowed.FILE) -> Iterator[Finding]:
    """Look at all that tasks of other users need."""
    if not node.run_as:
        return
    bad = list(_problems(node, node_dir, file))
    yield from bad
    if not bad:
        users = ", ".join(sorted(set(node.run_as.values())))
        owners = ", ".join(sorted(node.run_as)[:OWNERS_SHOWN_MAX])
        yield fine(TOPIC, f"commands of {owners} run as {users}")


def _problems(node: NodeSettings, node_dir: Path, file: Path) -> Iterator[Finding]:
    if closed := closed_above(node_dir):
        yield serious(TOPIC, closed, REMEDY)
    try:
        found = allowed.read(file)
    except Denied as error:
        yield serious(TOPIC, str(error), REMEDY)
        return
    for user in sorted(set(node.run_as.values())):
        try:
            found.user(user)
        except Denied as error:
            yield serious(TOPIC, str(error), f"change {file} or [node.run_as]")
    if not found.may_ask(os.geteuid()):
        name = pwd.getpwuid(os.geteuid()).pw_name
        yield serious(TOPIC, f"{file} lets {found.agent} ask, not {name}", "run it as that user")
    elif not node.run_as_socket.is_socket():
        text = f"no helper listens at {node.run_as_socket}"
        yield serious(TOPIC, text, "systemctl enable --now remuda-run-as.socket")
    elif not os.access(node.run_as_socket, os.W_OK):
        yield warning(TOPIC, f"{node.run_as_socket} is not open to this user", REMEDY)
