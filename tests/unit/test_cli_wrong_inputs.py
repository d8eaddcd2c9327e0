"""Is what an operator types wrong refused in one line that says what to do, with nothing done?"""

import os
from pathlib import Path

import pytest

from remuda.cli import main

REFUSED, USAGE, FAILED, MISSING, NO_CLUSTER = 4, 2, 1, 3, 5


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with things that are not what they should be, without a cluster."""
    for name in [each for each in os.environ if each.startswith("REMUDA_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not what was meant\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad.toml").write_text("[scheduler]\nlease = -3\n")
    monkeypatch.setenv("REMUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        # config
        (["config", "set"], USAGE, "Missing argument 'KEY VALUE...'"),
        (["config", "set", "scheduler.lease"], REFUSED, "scheduler.lease: a value is missing"),
        (["config", "set", "scheduler.lease", "3s"], NO_CLUSTER, "start one with `remuda up`"),
        (["config", "unset"], USAGE, "Missing argument 'KEY...'"),
        (["config", "get", ""], REFUSED, "KEY is empty"),
        (["config", "rollback", "0"], USAGE, "'[N]'"),
        (["config", "rollback", "x"], USAGE, "'[N]'"),
        (["config", "history", "--limit", "0"], USAGE, "'--limit'"),
        (["config", "validate", "none.toml"], FAILED, "none.toml: cannot be read"),
        (["config", "validate", "bad.toml"], FAILED, "bad.toml:2: scheduler.lease: found -3"),
        (["config", "validate", "folder"], FAILED, "folder: cannot be read: Is a directory"),
        # backup, restore, migrate
        (["backup"], REFUSED, "say where to: a FILE, or a folder with --to"),
        (["backup", ""], REFUSED, "is a folder: name a file in it"),
        (["backup", "a.tar", "--to", "folder"], REFUSED, "say where to"),
        (["backup", "folder"], REFUSED, "folder: is a folder: name a file in it"),
        (["backup", "none/a.tar"], REFUSED, "there is no folder none: make it first"),
        (["backup", "--to", "file"], REFUSED, "--to file: is a file: name a folder"),
        (["backup", "--to", "folder", "--keep", "-1"], USAGE, "'--keep'"),
        (["restore"], USAGE, "Missing argument 'FILE'"),
        (["restore", ""], REFUSED, "is a folder: name a file that `remuda backup` wrote"),
        (["restore", "folder"], REFUSED, "folder is a folder"),
        (["restore", "file", "--show", "--force"], REFUSED, "--show only says what is in it"),
        (["migrate", "--to", "x"], USAGE, "'--to'"),
        # recovery
        (["recovery", "adopt"], REFUSED, "name tasks, or all of them with --all"),
        (["recovery", "adopt", "--all"], NO_CLUSTER, "no scheduler runs"),
        (["recovery", "release", "x"], USAGE, "unexpected extra argument"),
        # audit
        (["audit", "--since", "x"], REFUSED, "since: 'x' is not a duration"),
        (["audit", "--since", "1h", "--until", "2h"], REFUSED, "since is later than until"),
        (["audit", "--limit", "0"], USAGE, "'--limit'"),
        (["audit", "--verify", "--file", "empty"], REFUSED, "empty has no rows"),
        (["audit", "--verify", "--file", "file"], REFUSED, "file:1: is no row"),
        (["audit", "--verify", "--file", "folder"], REFUSED, "folder is a folder"),
        (["audit", "--verify", "--file", "none"], FAILED, "none: No such file"),
        (["audit", "--export", "file"], FAILED, "file is there already"),
        (["audit", "--export", "none/x"], REFUSED, "there is no folder none"),
        (["audit", "--force"], REFUSED, "--force goes with --export FILE"),
        (["audit", "--export", "-", "--force"], REFUSED, "--force goes with --export FILE"),
        # doctor
        (["doctor", "x"], USAGE, "unexpected extra argument"),
        (["doctor", "--bundle", "file"], REFUSED, "file exists: name a new file"),
        (["doctor", "--bundle", "none/x.tar"], REFUSED, "none is no directory"),
        # handler
        (["handler", "show"], USAGE, "Missing argument 'NAME'"),
        (["handler", "disable"], USAGE, "Missing argument 'NAME...'"),
        (["handler", "disable", "x"], NO_CLUSTER, "no scheduler runs"),
        # install
        (["install"], USAGE, "Missing argument"),
        (["install", "worker"], USAGE, "Invalid value for 'role': 'worker' is not one of"),
        (["install", "node", "--dry-run", "--join", "garbage"], REFUSED, "begins with remuda1_"),
        (["install", "scheduler", "--dry-run", "--listen", 'x"\nport = 1'], REFUSED, "--listen x"),
        (["install", "node", "--dry-run", "--prefix", "none"], REFUSED,
         "--prefix none: name an absolute path"),
        (["install", "node", "--dry-run", "--prefix", "/none"], MISSING,
         "remuda-node is not there"),
        # completion
        (["completion"], USAGE, "Missing argument"),
        (["completion", "powershell"], USAGE, "powershell"),
        # task export
        (["task", "export"], USAGE, "Missing argument 'FILE'"),
        (["task", "export", "file"], REFUSED, "file: in which format?"),
        (["task", "export", "a.csv", "--batch", "x"], NO_CLUSTER, "no scheduler runs"),
    ],
)  # fmt: skip
def test_a_slip_is_one_line_that_says_what_to_do_and_changes_nothing(
    capfd, here, words, code, said
) -> None:
    before = sorted(here.rglob("*"))
    assert code == main.run(words)
    out, err = capfd.readouterr()
    told = err or out
    assert said in told
    assert 1 == told.count("\n")
    assert before == sorted(here.rglob("*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backup", "a.tar"], "there is no journal in"),
        (["migrate"], "there is no journal in"),
        (["restore", "file"], "file: is no backup of remuda"),
        (["restore", "empty"], "empty: is no backup of remuda"),
        (["restore", "none.tar"], "none.tar: No such file"),
    ],
)
def test_what_the_schedulers_own_code_refuses_is_one_line_too(capfd, here, words, said) -> None:
    before = sorted(here.rglob("*"))
    assert FAILED == main.run(words)
    told = capfd.readouterr().err
    assert said in told
    assert 1 == told.count("\n")
    assert before == sorted(here.rglob("*"))


def test_a_folder_that_takes_no_file_is_named_and_not_our_own_one(here: Path) -> None:
    from remuda.cli.whole_file import whole_file

    with (
        pytest.raises(OSError, match=r"/proc/out\.csv"),
        whole_file(Path("/proc/out.csv"), force=False),
    ):
        pass
