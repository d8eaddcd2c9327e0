"""Is it told, before a task fails of it, what keeps tasks from running as other users?"""

import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config.findings import Level
from remuda.config.settings_node import NodeSettings
from remuda.node import others, preflight_host
from remuda.node.gpu import Reading
from remuda.node.run_as import allowed
from remuda.node.run_as.allowed import Allowed, Denied, User

from ...fakes.other_users import open_folder

US = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def node_dir() -> Iterator[Path]:
    """Make a directory that others may pass to, unlike those of pytest."""
    with open_folder() as folder:
        yield folder / "node"


@pytest.fixture
def node(node_dir: Path) -> NodeSettings:
    return NodeSettings(run_as={"ann": "alice"}, run_as_socket=node_dir.parent / "sock")


def findings(node: NodeSettings, node_dir: Path) -> list[tuple[Level, str]]:
    found = others.of_run_as(node, node_dir)
    return [(each.level, each.text) for each in found]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Allowed:
    """Let root's file allow alice, whom this host need not have."""
    known = Allowed(US, ("alice",))
    monkeypatch.setattr(allowed, "read", lambda _: known)
    alice = User("alice", 2000, 2000, (2000,), "/", "/bin/sh")

    def user(_: Allowed, name: str) -> User:
        if name != "alice":
            raise Denied(f"user {name!r} is not among the `users` of the helper's file")
        return alice

    monkeypatch.setattr(Allowed, "user", user)
    return known


def test_a_node_that_runs_all_as_itself_is_asked_nothing(node_dir: Path) -> None:
    assert [] == findings(NodeSettings(), node_dir)


def test_a_host_that_has_all_of_it_is_fine(
    node: NodeSettings, node_dir: Path, file: Allowed
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.run_as_socket))
        ((level, text),) = findings(node, node_dir)
    assert (Level.FINE, "commands of ann run as alice") == (level, text)


def test_a_helper_that_does_not_listen_is_named(
    node: NodeSettings, node_dir: Path, file: Allowed
) -> None:
    assert [(Level.SERIOUS, f"no helper listens at {node.run_as_socket}")] == findings(
        node, node_dir
    )


def test_a_user_that_roots_file_does_not_name_is_named(node_dir: Path, file: Allowed) -> None:
    found = findings(NodeSettings(run_as={"ann": "bob", "eve": "root"}), node_dir)
    assert ["'bob'", "'root'"] == [text.split()[1] for _, text in found[:2]]


def test_a_file_that_is_missing_is_named(node: NodeSettings, node_dir: Path) -> None:
    ((level, text),) = [
        (each.level, each.text) for each in others.of_run_as(node, node_dir, node_dir / "none")
    ]
    assert (Level.SERIOUS, f"{node_dir}/none cannot be read: No such file or directory") == (
        level, text,
    )  # fmt: skip


def test_a_folder_through_which_others_cannot_pass_is_named_and_all_is_refused(
    node: NodeSettings, node_dir: Path, file: Allowed
) -> None:
    node_dir.parent.chmod(0o700)
    assert f"cannot pass through {node_dir.parent} to" in findings(node, node_dir)[0][1]
    assert f"pass through {node_dir.parent} to" in others.as_whom(node, node_dir).refusal(
        "ann", "command"
    )


def test_a_node_that_is_checked_looks_at_all_of_it(node: NodeSettings, node_dir: Path) -> None:
    node_dir.mkdir()
    checked = preflight_host.of_host(node, node_dir, Reading(reason="none"))
    found = [each for each in checked if each.topic == others.TOPIC]
    assert list(others.of_run_as(node, node_dir)) == found
    assert found


def test_others_pass_only_while_they_have_tasks_here(node: NodeSettings, node_dir: Path) -> None:
    def modes() -> list[int]:
        return [each.stat().st_mode & 0o777 for each in (node_dir, node_dir / "tasks")]

    for folder in (node_dir, node_dir / "tasks"):
        others.make_directory(folder)
    assert [0o700, 0o700] == modes()
    others.open_passage(node, node_dir)
    others.make_directory(node_dir)  # the next start: what runs is not locked out meanwhile
    assert [0o711, 0o711] == modes()
    others.open_passage(NodeSettings(), node_dir)
    assert [0o700, 0o700] == modes()
