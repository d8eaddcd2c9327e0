"""Whatever the helper is asked, does it start things as the users of its file, and no others?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from remuda.node.run_as import giving
from remuda.node.run_as.allowed import Denied
from remuda.node.run_as.giving import Ids
from remuda.worker import frames

from ..fakes import other_users
from ..fakes.other_users import Helper

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not other_users.may_add_users(), reason=other_users.WHY_NOT),
]
WAIT_S = 30.0


@pytest.fixture(scope="module")
def people() -> Iterator[list[str]]:
    """Add one user who is allowed, one who is not, and one who is allowed but of the system."""
    with other_users.users(0, 0) as (alice, bob), other_users.users(_free_below(700)) as (low,):
        yield [alice, bob, low]


def _free_below(end: int) -> int:
    taken = {each.pw_uid for each in pwd.getpwall()}
    return next(each for each in range(end - 1, 100, -1) if each not in taken)


@pytest.fixture(scope="module")
def helper(people: list[str]) -> Iterator[Helper]:
    allowed = [people[0], people[2], "root", "daemon", "nobody"]
    with other_users.open_folder() as dir_, other_users.helper(dir_, json.dumps(allowed)) as made:
        yield made


def ask(
    helper: Helper, frame: bytes, fds: list[int], *, stays: bool = False
) -> list[dict[str, Any]]:
    """Say something to a helper of its own, and return all that it answers.

    It is hung up at once, which ends what was started, or `stays` until that has ended by itself.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(WAIT_S)
        sock.connect(str(helper.socket))
        parser, heard = frames.Parser(), []
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(sock, [frame], fds)
            if not stays:
                sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(1 << 16):
                heard += [json.loads(body) for _, body in parser.feed(data)]
                if stays and "gone" in heard[-1]:
                    break
        return heard


def order(**fields: object) -> bytes:
    return frames.raw_frame(1, json.dumps(fields).encode())


def start(
    helper: Helper, user: str, *, stays: bool = False, **fields: Any
) -> tuple[list[dict[str, Any]], bytes]:
    """Ask for a program that says who it is; return the answers and its word."""
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    whole = {
        "do": "start", "user": user, "argv": ["/bin/sh", "-c", "trap '' TERM; id -u; id -G"],
        "env": {"PATH": "/usr/bin:/bin"}, "cwd": "/", "fds": [0, 1, 2], "gifts": [], **fields,
    }  # fmt: skip
    try:
        heard = ask(helper, order(**whole), [null, writer, null], stays=stays)
    finally:
        os.close(writer)
        os.close(null)
    with os.fdopen(reader, "rb") as file:
        return heard, file.read()


def test_a_hung_up_runner_leaves_nothing_behind(helper: Helper, people: list[str]) -> None:
    heard, _ = start(helper, people[0], argv=["/bin/sleep", "600"])
    assert ["started", "reaped", "gone"] == [
        next(iter(each)) for each in heard if "left" not in each
    ]


@pytest.mark.parametrize("at", [1, 2, "root", "daemon", "nobody", "", "0", "#0", "root\n"])
def test_who_is_not_to_be_is_refused_whatever_the_file_says(
    helper: Helper, people: list[str], at: int | str
) -> None:
    heard, said = start(helper, people[at] if isinstance(at, int) else at)
    assert (["refused"], b"") == ([next(iter(each)) for each in heard], said)


NAMES = st.sampled_from(["@alice", "@bob", "@low", "root", "daemon", "nobody", "0", "", "*"])
ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just(["root"])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "uid": ODD, "gid": ODD, "argv": ODD, "cwd": ODD | st.sampled_from(["/root", "/tmp"]),
        "env": ODD | st.just({"LD_PRELOAD": "/tmp/x.so", "USER": "root"}), "do": ODD,
        "fds": st.lists(st.integers(-1, 9), max_size=4), "gifts": st.lists(st.text(max_size=4)),
    },
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=NAMES | ODD, fields=FIELDS)
@example(user="root", fields={})
@example(user="@alice", fields={})
@example(user="@alice", fields={"env": {"LD_PRELOAD": "/tmp/x.so", "USER": "root"}})
def test_no_request_runs_anything_as_somebody_else(
    helper: Helper, people: list[str], user: object, fields: dict[str, Any]
) -> None:
    known = {"@alice": people[0], "@bob": people[1], "@low": people[2]}
    name = known.get(user, user) if isinstance(user, str) else user
    heard, said = start(helper, name, **fields)  # type: ignore[arg-type]  # anything goes
    has_begun = any("started" in each for each in heard)
    assert not has_begun or name == people[0]
    alice = pwd.getpwnam(people[0])
    assert said in (b"", f"{alice.pw_uid}\n".encode(), f"{alice.pw_uid}\n{alice.pw_gid}\n".encode())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
@example(b"\xff\xff\xff\xff\x01")
@example(b"\x00\x00\x00\x00\x01")
def test_garbage_starts_nothing_and_harms_no_one(helper: Helper, data: bytes) -> None:
    heard = ask(helper, data or b"\0", [])
    assert not [each for each in heard if "refused" not in each]
    assert helper.process.poll() is None


def test_a_signal_reaches_nobody_that_it_has_not_started(helper: Helper) -> None:
    for target in ({"group": helper.process.pid}, {"below": os.getpid()}, {}):
        assert [] == ask(helper, order(do="signal", numbers=[9], **target), [])
    assert helper.process.poll() is None


SIGNALS = """
import os, signal, subprocess, sys, time
from remuda.node.run_as.signalling import UsersHands
ours = subprocess.Popen(["sleep", "600"])
theirs = subprocess.Popen(["sleep", "600"], user=23001, group=23001)
hands = UsersHands(23001)
hands.signal_all(signal.SIGKILL)
hands.kill_below(ours.pid)
print(theirs.wait(), ours.poll())
ours.kill()
ours.wait()
"""


def test_what_is_not_the_users_lives_on_even_if_it_is_signalled_by_mistake() -> None:
    words = [sys.executable, "-c", SIGNALS]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert "-9 None\n" == said.stdout


def test_a_program_with_the_set_user_id_bit_gives_no_privileges(
    helper: Helper, people: list[str]
) -> None:
    words = ["/bin/grep", "NoNewPrivs", "/proc/self/status"]
    _, said = start(helper, people[0], stays=True, argv=words)
    assert b"NoNewPrivs:\t1\n" == said


def test_a_folder_that_is_not_the_agents_stays_whose_it_is(
    helper: Helper, people: list[str], tmp_path: Path
) -> None:
    user = pwd.getpwnam(people[0])
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").touch()
    for path in (home, home / "file"):
        os.chown(path, user.pw_uid, user.pw_gid)
    folder = os.open(home, os.O_RDONLY)
    null = os.open(os.devnull, os.O_RDWR)
    body = order(
        do="start", user=people[0], argv=["/bin/true"], env={}, cwd="/", fds=[0], gifts=["work"]
    )
    (answer,) = ask(helper, body, [null, folder])
    os.close(folder)
    os.close(null)
    assert ("user_refused", [user.pw_uid] * 2) == (
        answer["refused"],
        [home.stat().st_uid, (home / "file").stat().st_uid],
    )


def test_descriptors_that_did_not_come_start_nothing(helper: Helper, people: list[str]) -> None:
    heard, said = start(helper, people[0], fds=[0, 1, 2, 3])
    assert ("malformed", b"") == (heard[0]["refused"], said)


def test_another_user_of_the_host_is_not_listened_to(helper: Helper, people: list[str]) -> None:
    user = pwd.getpwnam(people[0])
    assert "EACCES" == _as_user(user.pw_uid, helper.socket)
    helper.socket.chmod(0o666)  # even then
    try:
        assert "is not the agent" in _as_user(user.pw_uid, helper.socket)
    finally:
        helper.socket.chmod(0o660)


def _as_user(uid: int, path: Path) -> str:
    """Return what a process of another user is told; a fork, for it may not start a Python."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(WAIT_S)
            sock.connect(str(path))
            os.write(writer, sock.recv(4096))
        except PermissionError:
            os.write(writer, b"EACCES")
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as file:
        return file.read().decode(errors="replace")


# --- directories that change hands -------------------------------------------------------------

ROOT, USER, STRANGER = Ids(0, 0), Ids(23_001, 23_001), Ids(23_002, 23_002)


def changed(how: Any, folder: Path, *ids: Ids) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        how(descriptor, *ids)
    finally:
        os.close(descriptor)


def test_a_tree_is_given_and_taken_whole_however_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    _make_deep(tree, 600)
    changed(giving.give, tree, ROOT, USER)
    assert {USER.uid} == set(_owners(tree))
    changed(giving.take, tree, USER, ROOT)
    owners = _owners(tree)
    assert ({ROOT.uid}, 601) == (set(owners), len(owners))


def _make_deep(tree: Path, depth: int) -> None:
    here = os.open(tree.parent, os.O_RDONLY)
    for name in [tree.name, *["d"] * depth]:
        os.mkdir(name, 0o700, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def _owners(tree: Path) -> list[int]:
    return [status.st_uid for *_, fd in os.fwalk(tree) for status in [os.fstat(fd)]]


def test_only_what_is_the_users_is_taken_and_links_lead_nowhere(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (tree, outside):
        folder.mkdir()
    target, other = outside / "target", tree / "other"
    for file in (target, other):
        file.write_text("x")
        os.chown(file, *STRANGER)
    os.link(target, tree / "hard")
    (tree / "soft").symlink_to(target)
    (tree / "up").symlink_to(outside)
    os.chown(outside, *USER)
    os.chown(tree, *USER)
    changed(giving.take, tree, USER, ROOT)
    found = [each.stat().st_uid for each in (target, other, outside, tree)]
    assert [STRANGER.uid, STRANGER.uid, USER.uid, ROOT.uid] == found


@pytest.mark.parametrize("what", ["strange", "linked", "folder", "top"])
def test_nothing_is_given_that_is_not_the_agents_alone(tmp_path: Path, what: str) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    file = tree / "sub" / "file"
    file.write_text("x")
    if what == "linked":
        os.link(file, tmp_path / "cached")
    else:
        os.chown({"strange": file, "folder": tree / "sub", "top": tree}[what], *STRANGER)
    with pytest.raises(Denied):
        changed(giving.give, tree, ROOT, USER)
    assert USER.uid not in (tree.stat().st_uid, file.stat().st_uid)


def test_a_program_that_is_given_loses_the_right_to_become_its_owner(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    program = tree / "program"
    program.write_text("x")
    os.chown(program, *USER)
    program.chmod(0o4755)
    os.chown(tree, *USER)
    changed(giving.take, tree, USER, ROOT)
    assert (ROOT.uid, 0o755) == (program.stat().st_uid, program.stat().st_mode & 0o7777)


def test_the_file_of_progress_must_be_the_agents_alone(tmp_path: Path) -> None:
    file = tmp_path / "said"
    file.write_text("")
    with file.open("r+b") as own:
        giving.give_said(own.fileno(), ROOT, USER)
    assert (USER.uid, 0, 0o640) == (
        file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777,
    )  # fmt: skip
    for descriptor in (os.open(file, os.O_RDWR), os.open("/etc", os.O_RDONLY)):
        with pytest.raises(Denied):
            giving.give_said(descriptor, ROOT, USER)
        os.close(descriptor)


def test_a_pipe_is_given_only_if_it_is_the_agents(tmp_path: Path) -> None:
    found = []
    for whose in (ROOT, STRANGER):
        path = tmp_path / str(whose.uid)
        os.mkfifo(path, 0o666)
        os.chown(path, *whose)
        pipe = os.open(path, os.O_RDWR)
        giving.give_pipe(pipe, ROOT, USER)
        os.close(pipe)
        found.append(path.stat().st_uid)
    assert [USER.uid, STRANGER.uid] == found


def test_the_helper_needs_nothing_but_the_standard_library() -> None:
    code = "import sys, remuda.node.run_as.__main__; print(*sys.modules)"
    words = [sys.executable, "-I", "-c", code]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    ours = {"remuda.node.run_as.keeping", "remuda.worker.frames", "remuda.node.recovery"}
    assert ours <= set(loaded)
    installed = set(importlib.metadata.packages_distributions()) - {"remuda", "_distutils_hack"}
    assert [] == [
        each for each in loaded if each.partition(".")[0] in installed and "__" not in each
    ]
