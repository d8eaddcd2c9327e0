"""Does the helper take only what is one of its orders, from whom and as whom its file allows?"""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from remuda.node.run_as import __main__ as helper_main
from remuda.node.run_as import allowed, becoming, giving, keeping, orders
from remuda.node.run_as.allowed import Allowed, Denied
from remuda.node.run_as.orders import Kill, Malformed, Signal, Start, Sweep
from remuda.worker import frames

START = {
    "do": "start", "user": "alice", "argv": ["id"], "env": {"A": ""}, "cwd": "/",
    "fds": [0, 1, 2], "gifts": ["work", "lock"],
}  # fmt: skip


def read(**order: object) -> orders.Order:
    return orders.read(orders.KIND, json.dumps(order).encode())


def test_each_order_is_read_as_it_was_meant() -> None:
    start = Start("alice", ("id",), {"A": ""}, "/", (0, 1, 2), ("work", "lock"))
    assert start == read(**START)
    assert 5 == start.descriptors
    assert Signal((15, 18)) == read(do="signal", numbers=[15, 18])
    assert Signal((9,), below=7) == read(do="signal", numbers=[9], below=7)
    assert Kill() == read(do="kill")
    assert Sweep("alice", "0a1b") == read(do="sweep", user="alice", runner="0a1b")


@pytest.mark.parametrize(
    "change",
    [
        {"user": ""}, {"user": "a\0b"}, {"user": 0}, {"user": ["root"]}, {"user": "x" * 65},
        {"argv": []}, {"argv": "id"}, {"argv": ["a\0"]}, {"argv": [1]}, {"argv": ["\ud800"]},
        {"env": []}, {"env": {"A=B": "c"}}, {"env": {"": "c"}}, {"env": {"A": "\0"}},
        {"cwd": "here"}, {"cwd": ""}, {"cwd": None}, {"fds": []}, {"fds": [0, 0]},
        {"fds": [-1]}, {"fds": [8]}, {"fds": [True]}, {"fds": list(range(9))},
        {"gifts": ["home"]}, {"gifts": ["work", "work"]}, {"gifts": [["work"]]},
        {"uid": 0}, {"do": "exec"}, {"do": 1}, {"do": None},
    ],
)  # fmt: skip
def test_an_order_with_a_field_that_does_not_fit_is_none(change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        read(**{**START, **change})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"do": "kill", "all": 1}']
)
def test_what_is_no_order_at_all_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        orders.read(orders.KIND, body)


@pytest.mark.parametrize("number", [0, -9, 11, 6, 4, 64, 9.0, "9", True])
def test_only_signals_that_mean_something_to_a_task_are_sent(number: object) -> None:
    with pytest.raises(Malformed):
        read(do="signal", numbers=[number])


def test_a_sweep_names_a_runner_and_nothing_with_which_to_match_more() -> None:
    for runner in ("", "../x", "a b", "A=\0", "x" * 65):
        with pytest.raises(Malformed):
            read(do="sweep", user="alice", runner=runner)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["root", "/"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from([*START, "numbers", "group", "below", "runner", "uid"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, ANY), st.sampled_from(["start", "signal", "kill", "sweep", "x"]))
@example({}, "start")
def test_whatever_comes_is_an_order_of_bounded_fields_or_malformed(
    fields: dict[str, object], verb: str
) -> None:
    try:
        order = read(
            **{**START, **fields, "do": verb} if verb == "start" else {**fields, "do": verb}
        )
    except Malformed:
        return
    if isinstance(order, Start):
        assert order.cwd.startswith("/")
        assert set(order.gifts) <= set(orders.GIFTS)
        assert all(0 <= fd < orders.FDS_MAX for fd in order.fds)
    if isinstance(order, Signal):
        assert set(order.numbers) <= {int(each) for each in orders.SIGNALS}
        assert min(order.group, order.below) >= 0


def test_the_file_names_the_agent_users_and_groups() -> None:
    text = b'agent = "remuda"\nusers = ["a", "b"]\ngroups = ["video"]\n'
    assert Allowed("remuda", ("a", "b"), ("video",)) == allowed.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"users = []", b'agent = "a"', b'agent = 1\nusers = []', b'agent = "a"\nusers = "b"',
        b'agent = "a"\nusers = [0]', b'agent = "a"\nusers = []\nuid = 0', b"\xff", b"[",
        b'agent = "a"\nusers = ["*", ""]', b'agent = "a"\nusers = []\ngroups = [1]',
        b"#" * (allowed.FILE_BYTES_MAX + 1),
    ],
)  # fmt: skip
def test_a_file_that_says_something_else_allows_nothing(text: bytes) -> None:
    with pytest.raises(Denied):
        allowed.parse(text)


def test_root_and_users_of_the_system_are_refused_even_if_the_file_names_them() -> None:
    found = pwd.getpwall()
    everybody = Allowed("no-such-agent", tuple(each.pw_name for each in found))
    low = [each.pw_name for each in found if min(each.pw_uid, each.pw_gid) < allowed.ID_MIN]
    assert "root" in low
    for name in [*low, *(each.pw_name for each in found if each.pw_uid == allowed.NOBODY)]:
        with pytest.raises(Denied, match="nothing is started"):
            everybody.user(name)


def test_a_number_or_a_star_names_nobody() -> None:
    for name in ("0", "1000", "*", "%", "root,"):
        with pytest.raises(Denied):
            Allowed("root", (name,)).user(name)


def test_the_agents_own_user_is_no_other_user(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("remuda", "x", 2000, 2000, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry)
    with pytest.raises(Denied, match="is the agent's own"):
        Allowed("remuda", ("remuda",)).user("remuda")


def test_groups_of_the_system_are_left_behind_but_for_those_that_the_file_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = pwd.struct_passwd(("alice", "x", 2000, 2000, "", "/", "/bin/sh"))
    entries = {"alice": entry, "root": pwd.getpwnam("root")}
    monkeypatch.setattr(pwd, "getpwnam", entries.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 0, 4, 27, 999, 3000])
    assert (2000, 3000) == Allowed("root", ("alice",)).user("alice").groups
    monkeypatch.setattr(allowed.grp, "getgrnam", lambda _: type("G", (), {"gr_gid": 4}))
    assert (4, 2000, 3000) == Allowed("root", ("alice",), ("adm",)).user("alice").groups


def test_no_group_of_roots_is_kept() -> None:
    entry = next(each for each in pwd.getpwall() if each.pw_uid == 0)
    name = allowed.grp.getgrgid(entry.pw_gid).gr_name
    with pytest.raises(Denied, match="is root's"):
        allowed._group(name)


def test_a_file_that_others_can_change_allows_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run-as.toml"
    file.write_text('agent = "root"\nusers = []\n')
    if os.geteuid() == 0:
        assert Allowed("root", ()) == allowed.read(file)
    for mode in (0o664, 0o646):
        file.chmod(mode)
        with pytest.raises(Denied, match="can be changed by others"):
            allowed.read(file)
    link = tmp_path / "link"
    link.symlink_to(file)
    for path in (link, tmp_path, tmp_path / "none"):
        with pytest.raises(Denied):
            allowed.read(path)


def test_only_root_can_be_the_helper() -> None:
    line = "import os, sys; os.geteuid = lambda: 7; from remuda.node.run_as.__main__ import main; "
    said = refused("-c", line + "sys.exit(main([]))")
    assert "remuda-run-as: only root can become other users\n" == said


def refused(*words: str) -> str:
    """Start the helper without a connection; return what it says when it ends with 2."""
    done = subprocess.run(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 2 == done.returncode
    return done.stderr


def test_check_says_of_each_user_whether_anything_can_be_started_as_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = pwd.struct_passwd(("alice", "x", 2000, 2000, "", "/", "/bin/sh"))
    entries = {"alice": entry, "root": pwd.getpwnam("root")}
    monkeypatch.setattr(pwd, "getpwnam", entries.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 3000])
    names = ["alice"]
    monkeypatch.setattr(allowed, "read", lambda _: Allowed("remuda", tuple(names)))
    assert 0 == helper_main.main(["--check"])
    names.append("root")
    assert 1 == helper_main.main(["--check"])
    fine, *again = capsys.readouterr().out.splitlines()
    assert ("alice: uid 2000, gid 2000, groups 2000,3000", fine) == (fine, again[0])
    assert again[1].startswith("root: refused: 'root' has user id 0: nothing is started with one")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be the helper")
def test_a_start_without_a_connection_says_what_to_do() -> None:
    said = refused("-m", "remuda.node.run_as")
    assert "remuda-run-as: no connection was given: say --listen SOCKET, or --check\n" == said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be the helper")
def test_listening_in_place_of_a_file_leaves_the_file_there(tmp_path: Path) -> None:
    allowed_file, place = tmp_path / "allowed.toml", tmp_path / "mine"
    allowed_file.write_text('agent = "root"\nusers = []\n')
    allowed_file.chmod(0o600)
    place.write_text("mine")
    words = ["--allowed", str(allowed_file), "--listen", str(place)]
    done = subprocess.run(
        [sys.executable, "-m", "remuda.node.run_as", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (2, f"remuda-run-as: {place} is there, and no socket: name another place\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip
    assert "mine" == place.read_text()


def test_a_connection_that_is_not_the_agents_is_told_so_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stranger = Allowed("no-such-user", ("alice",))
        keeping.serve(theirs, lambda: stranger)
        ((_, body),) = frames.Parser().feed(ours.recv(4096))
    assert "is not the agent" in json.loads(body)["why"]


def test_no_signal_that_it_takes_is_unknown_to_a_task() -> None:
    assert signal.SIGKILL in orders.SIGNALS
    assert signal.SIGSEGV not in orders.SIGNALS


def test_a_start_is_refused_once_its_directory_is_the_agents_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deeds = []

    def not_started(helper: keeping.Keeping, _order: Start, fds: list[int]) -> int:
        helper.user = allowed.User("alice", 2000, 2000, (), "/", "/bin/sh")
        helper.gifts += fds
        raise becoming.NotStarted("not_executable", "it is a text")

    monkeypatch.setattr(keeping.Keeping, "_start", not_started)
    monkeypatch.setattr(keeping.giving, "take", lambda *_: deeds.append("given back"))
    monkeypatch.setattr(keeping, "say", lambda _, **words: deeds.append(words["refused"]))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        helper = keeping.Keeping(ours, giving.Ids(0, 0), lambda: Allowed("root", ("alice",)))
        helper._fds.append(os.open(tmp_path, os.O_RDONLY))
        helper._on_order(Start("alice", ("x",), {}, "/", (), ("work",)))
    assert ["given back", "not_executable"] == deeds
