"""Is a host brought to where it runs a role, once, and taken back without its data?"""

import os
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePath

import pytest

from remuda.cli import main
from remuda.config.settings_node import NodeSettings
from remuda.node.run_as import allowed
from remuda.protocol.errors import Invalid, NotFound
from remuda.systemd import users
from remuda.systemd.host import Host
from remuda.systemd.installation import HOME, NODE_ENV, UNITS, Wish, install, uninstall

LINE = "remuda1_AAAA"
NODE, STORE = "remuda-node.service", "remuda-store.service"


class System:
    """What systemctl, useradd and userdel would do to a folder that stands for a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.fails = ""

    def __call__(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        line = " ".join(argv)
        if self.fails and line.startswith(self.fails):
            return subprocess.CompletedProcess(argv, 1, "", "no such luck")
        said = ""
        if argv[0] != "systemctl":
            self.calls.append(line)
            passwd = self.root / "etc/passwd"
            kept = [one for one in passwd.read_text().splitlines() if not one.startswith("remuda:")]
            if argv[0] == "useradd":
                kept.append(
                    f"remuda:x:{os.geteuid()}:{os.getegid()}::/var/lib/remuda:/sbin/nologin"
                )
            passwd.write_text("\n".join(kept) + "\n")
        elif argv[1] == "is-enabled":
            said = "enabled" if argv[2] in self.enabled else "disabled"
        elif argv[1] == "is-active":
            said = "active" if argv[2] in self.active else "inactive"
        else:
            self.calls.append(line)
            units = [word for word in argv[2:] if not word.startswith("-")]
            self._change(argv[1], units)
        return subprocess.CompletedProcess(argv, 0, f"{said}\n", "")

    def _change(self, verb: str, units: list[str]) -> None:
        if verb == "enable":
            assert all((self.root / UNITS.lstrip("/") / unit).exists() for unit in units)
            self.enabled |= set(units)
        elif verb == "start":
            self.active |= set(units)
        elif verb == "disable":
            self.enabled -= set(units)
            self.active -= set(units)


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    programs = tmp_path / "opt/remuda/bin"
    programs.mkdir(parents=True)
    for name in ("node", "scheduler", "store"):
        (programs / f"remuda-{name}").touch()
    return System(tmp_path)


def on(system: System, *, dry: bool = False) -> Host:
    return Host(system.root, dry, system)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else "folder"
        for path in sorted(root.rglob("*"))
    }


def test_a_node_gets_its_user_folders_line_and_units_and_is_started(system: System) -> None:
    install(on(system), Wish("node", line=LINE))
    root = system.root
    assert f"REMUDA_JOIN={LINE}\n" == (root / NODE_ENV.lstrip("/")).read_text()
    made = [root / path.lstrip("/") for path in (HOME, f"{HOME}/keys", NODE_ENV)]
    modes = [path.stat().st_mode & 0o777 for path in made]
    assert [0o700, 0o700, 0o600] == modes
    assert ({NODE, "remuda.target"},) * 2 == (system.enabled, system.active)
    assert system.calls[0].startswith(f"useradd --root {root} --system --user-group")
    assert system.calls[1] == "systemctl daemon-reload"


def test_a_second_run_changes_nothing_and_says_so(system: System) -> None:
    install(on(system), Wish("node", line=LINE))
    before, system.calls = tree(system.root), []
    assert [] == install(on(system), Wish("node", line=LINE))
    assert (before, []) == (tree(system.root), system.calls)


def test_settings_that_are_there_are_left_alone_and_an_address_that_is_not_in_them_is_told(
    system: System,
) -> None:
    install(on(system), Wish("scheduler", listen="10.0.0.1"))
    before = tree(system.root)
    assert [] == install(on(system), Wish("scheduler", listen="10.0.0.1"))
    (said,) = install(on(system), Wish("scheduler", listen="10.0.0.2"))
    assert 'remuda.toml is left as it is: write listen = "10.0.0.2" into its [scheduler]' in said
    assert before == tree(system.root)


def test_a_dry_run_says_the_same_and_changes_nothing(system: System) -> None:
    before = tree(system.root)
    said = install(on(system, dry=True), Wish("scheduler", listen="10.0.0.1"))
    assert (before, []) == (tree(system.root), system.calls)
    assert said == install(on(system), Wish("scheduler", listen="10.0.0.1"))


def test_a_scheduler_brings_its_store_and_keeps_the_settings_that_are_there(system: System) -> None:
    settings = system.root / HOME.lstrip("/") / "remuda.toml"
    install(on(system), Wish("scheduler", listen="10.0.0.1"))
    assert '[scheduler]\nlisten = "10.0.0.1"\n' == settings.read_text()
    settings.write_text("# mine\n")
    (said,) = install(on(system), Wish("scheduler", listen="10.0.0.2"))
    assert "remuda.toml is left as it is" in said
    assert ("# mine\n", True) == (settings.read_text(), STORE in system.active)


def test_another_prefix_stands_in_the_units(system: System) -> None:
    prefix = PurePath("/srv/remuda-2")
    program = system.root / "srv/remuda-2/bin/remuda-node"
    program.parent.mkdir(parents=True)
    program.touch()
    install(on(system), Wish("node", prefix))
    unit = (system.root / UNITS.lstrip("/") / NODE).read_text()
    assert "ExecStart=/srv/remuda-2/bin/remuda-node\n" in unit
    assert "/opt/remuda" not in unit


@pytest.mark.parametrize("prefix", ["relative", "/with blank", "/per%cent"])
def test_a_prefix_that_a_unit_cannot_hold_is_refused(system: System, prefix: str) -> None:
    with pytest.raises(Invalid, match="--prefix"):
        install(on(system), Wish("node", PurePath(prefix)))


def test_a_host_without_remuda_is_told_how_to_get_it(system: System) -> None:
    with pytest.raises(NotFound, match=r"/srv/bin/remuda-node is not there.*bin/install"):
        install(on(system), Wish("node", PurePath("/srv")))


def test_what_fails_is_named_and_the_next_run_goes_on_from_there(system: System) -> None:
    system.fails = "systemctl start"
    with pytest.raises(Invalid, match=r"started remuda.target.*no such luck"):
        install(on(system), Wish("node"))
    system.fails = ""
    assert ["started remuda.target", f"{NODE} starts at boot", f"started {NODE}"] == (
        install(on(system), Wish("node"))
    )


def test_a_unit_that_changes_is_named_where_it_runs_with_the_one_of_before(system: System) -> None:
    install(on(system), Wish("node"))
    unit = system.root / UNITS.lstrip("/") / NODE
    unit.write_text("[Service]\n")
    assert [
        f"file {UNITS}/{NODE}",
        "systemd reads its units",
        f"{NODE} runs as it was started: `systemctl restart {NODE}`",
    ] == install(on(system), Wish("node"))


def test_a_node_that_has_joined_keeps_no_line(system: System) -> None:
    install(on(system), Wish("node"))
    (system.root / HOME.lstrip("/") / "keys/node-n1.key").touch()
    assert [] == install(on(system), Wish("node", line=LINE))


def test_uninstall_leaves_the_data_and_twice_does_nothing_more(system: System) -> None:
    install(on(system), Wish("node", line=LINE))
    key = system.root / HOME.lstrip("/") / "keys/node-n1.key"
    key.touch()
    assert uninstall(on(system), Wish("node"), purge=False)
    unit = system.root / UNITS.lstrip("/") / NODE
    assert (set(), True, False) == (system.active, key.exists(), unit.exists())
    assert [] == uninstall(on(system), Wish("node"), purge=False)


def test_purge_takes_data_keys_and_user(system: System) -> None:
    install(on(system), Wish("node"))
    uninstall(on(system), Wish("node"), purge=True)
    assert not (system.root / HOME.lstrip("/")).exists()
    assert "remuda" not in (system.root / "etc/passwd").read_text()


def test_purge_empties_a_home_that_is_a_disk_of_its_own(system: System, monkeypatch) -> None:
    home = system.root / HOME.lstrip("/")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == home)
    install(on(system), Wish("node"))
    assert f"emptied {HOME}" in uninstall(on(system), Wish("node"), purge=True)
    assert [] == list(home.iterdir())
    assert "remuda" not in (system.root / "etc/passwd").read_text()


def test_the_data_of_another_role_are_not_purged_along(system: System) -> None:
    install(on(system), Wish("node"))
    install(on(system), Wish("scheduler"))
    with pytest.raises(Invalid, match="the data of the scheduler"):
        uninstall(on(system), Wish("node"), purge=True)
    uninstall(on(system), Wish("node"), purge=False)
    assert "remuda.target" in system.active


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["node", "--purge"], "--purge goes with --uninstall"),
        (["scheduler", "--join", LINE], "--join is for a node"),
        (["scheduler", "--run-as", "a=b"], "--run-as is for a node"),
        (["node", "--run-as", "alice"], "wanted OWNER=USER"),
        (["node", "--run-as", "a=b", "--run-as", "a=c"], "each owner once"),
        (["node", "--listen", "10.0.0.1"], "--listen is for a scheduler"),
        (["node", "--uninstall", "--join", LINE], "--uninstall goes with neither"),
    ],
)
def test_options_that_contradict_each_other_are_refused(capsys, words, says) -> None:
    assert main.run(["install", *words]) != 0
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 2), (["worker"], 2), (["--help"], 0), (["scheduler", "--help"], 0), (["node", "-h"], 0)],
)
def test_bin_install_says_how_it_is_called_and_does_nothing(tmp_path, words, code) -> None:
    tool = Path(__file__).resolve().parents[2] / "bin" / "install"
    prefix = tmp_path / "prefix"
    command = [str(tool), f"--prefix={prefix}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (code, False) == (done.returncode, prefix.exists())
    assert "sudo bin/install node [--join LINE]" in (done.stderr if code else done.stdout)


def test_bin_install_says_in_a_dry_run_that_remuda_itself_comes_first(tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[2] / "bin" / "install"
    command = [str(tool), "node", "--dry-run", "--prefix", str(tmp_path / "prefix")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, []) == (done.returncode, list(tmp_path.iterdir()))
    assert done.stdout.startswith(f"would: a virtual environment in {tmp_path}/prefix")


def test_bin_install_would_make_nothing_where_something_is_to_go(tmp_path: Path) -> None:
    tool = Path(__file__).resolve().parents[2] / "bin" / "install"
    command = [str(tool), "node", "--uninstall", "--dry-run", "--prefix", str(tmp_path / "prefix")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (1, "") == (done.returncode, done.stdout)
    assert f"there is no remuda in {tmp_path}/prefix" in done.stderr


def test_the_command_says_what_it_would_do(capsys, system: System) -> None:
    words = ["install", "node", "--dry-run", "--root", str(system.root), "--join", LINE]
    assert 0 == main.run(words)
    said = capsys.readouterr().out
    assert f"would: file {UNITS}/{NODE}\n" in said
    assert LINE not in said, "a line is a key"


SOCKET, TEMPLATE = "remuda-run-as.socket", "remuda-run-as@.service"


@pytest.fixture
def with_users(system: System) -> System:
    passwd = system.root / "etc/passwd"
    users = ("daemon:x:1:1::/:/bin/sh", "alice:x:2001:2001::/home/alice:/bin/sh")
    nobody = "nobody:x:65534:65534::/:/bin/sh"
    passwd.write_text(passwd.read_text() + "\n".join([*users, nobody, ""]))
    return system


def test_a_node_is_told_who_runs_as_whom_and_gets_the_helper(with_users: System) -> None:
    wish = Wish("node", run_as={"ann": "alice", "ci": "alice"})
    install(on(with_users), wish)
    found = tree(with_users.root)
    for_helper = tomllib.loads(found["etc/remuda-run-as.toml"])
    assert {"agent": "remuda", "users": ["alice"]} == for_helper
    node = tomllib.loads(found["etc/remuda/run-as.toml"])["node"]
    assert ({"ann": "alice", "ci": "alice"}, "/var/lib/remuda-node") == (
        node["run_as"], node["state_dir"],
    )  # fmt: skip
    assert 0o711 == (with_users.root / "var/lib/remuda-node").stat().st_mode & 0o777
    assert SOCKET in with_users.active
    assert f"{UNITS.lstrip('/')}/{TEMPLATE}" in found
    assert [] == install(on(with_users), wish)


def test_what_is_installed_is_what_helper_and_agent_look_for(with_users: System) -> None:
    install(on(with_users), Wish("node", run_as={"ann": "alice"}))
    found = tree(with_users.root)
    text = found[str(allowed.FILE).lstrip("/")]
    assert allowed.Allowed("remuda", ("alice",)) == allowed.parse(text.encode())
    unit = found[f"{UNITS.lstrip('/')}/{SOCKET}"]
    assert f"ListenStream={NodeSettings().run_as_socket}\n" in unit
    assert (allowed.ID_MIN, allowed.NOBODY) == (users.ID_MIN, users.NOBODY)


def test_a_node_without_others_gets_no_helper(system: System) -> None:
    install(on(system), Wish("node"))
    assert not [each for each in tree(system.root) if "run-as" in each]


def test_what_was_told_stays_when_the_node_is_installed_again_and_goes_with_it(
    with_users: System,
) -> None:
    install(on(with_users), Wish("node", run_as={"ann": "alice"}))
    assert [] == install(on(with_users), Wish("node"))
    uninstall(on(with_users), Wish("node"), purge=True)
    assert not [each for each in tree(with_users.root) if "run-as" in each]
    assert SOCKET not in with_users.active


@pytest.mark.parametrize("user", ["root", "daemon", "nobody", "no-such-user"])
def test_nobody_runs_as_root_or_a_user_of_the_system(with_users: System, user: str) -> None:
    with pytest.raises(Invalid, match="--run-as"):
        install(on(with_users), Wish("node", run_as={"ann": user}))
    assert not (with_users.root / "etc/remuda-run-as.toml").exists()


@pytest.mark.parametrize("owner", ['a"b', "a\nb", "a\\"])
def test_an_owner_that_no_file_can_hold_is_refused(with_users: System, owner: str) -> None:
    with pytest.raises(Invalid, match="is no name"):
        install(on(with_users), Wish("node", run_as={owner: "alice"}))
