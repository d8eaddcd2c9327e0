"""Do commands of other users run as them, apart from each other, and end as others do?"""

from __future__ import annotations

import json
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from remuda.node import recovery
from remuda.worker import frames

from ..fakes import other_users
from ..fakes.other_users import Helper
from ..fakes.raw import wait_for
from ..fakes.runner_driver import Driver, driven

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not other_users.may_add_users(), reason=other_users.WHY_NOT),
]


@pytest.fixture(scope="module")
def people() -> Iterator[list[str]]:
    with other_users.users(0, 0) as names:
        yield names


@pytest.fixture(scope="module")
def helper(people: list[str]) -> Iterator[Helper]:
    with (
        other_users.open_folder() as folder,
        other_users.helper(folder, json.dumps(people)) as made,
    ):
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    with other_users.open_folder() as folder:
        yield folder


@pytest.fixture
def runner(place: Path) -> Iterator[Driver]:
    with driven(place) as driver:
        yield driver


class Scene:
    """A runner whose commands are of one user."""

    def __init__(self, runner: Driver, helper: Helper, user: str) -> None:
        self.runner, self.helper, self.user = runner, helper, user
        self.number = 0

    def start(self, *line: str, **order: object) -> frames.Run:
        self.number += 1
        work = self.runner.tmp_path / "tasks" / f"{self.user}.{self.number}" / "work"
        work.parent.parent.mkdir(mode=0o711, exist_ok=True)
        work.mkdir(mode=0o700, parents=True)
        where = {"user": self.user, "helper": str(self.helper.socket), "task_dir": str(work)}
        return self.runner.start(*line, **{**where, **order})

    def run(self, line: str, **order: object) -> frames.Finished:
        return self.runner.finished(self.start(line, **order))


@pytest.fixture
def alice(runner: Driver, helper: Helper, people: list[str]) -> Scene:
    return Scene(runner, helper, people[0])


def work_of(run: frames.Run) -> Path:
    assert run.task_dir is not None
    return Path(run.task_dir)


def test_a_command_runs_as_its_user_alone_and_its_output_comes_back(alice: Scene) -> None:
    done = alice.run("id -un; id -G; grep CapEff /proc/self/status; echo said >&2; exit 3")
    assert ("exit", 3, b"said\n") == (done.how, done.returncode, done.err_inline), done.message
    user = pwd.getpwnam(alice.user)
    name, groups, caps = done.out_inline.decode().splitlines()
    assert (alice.user, str(user.pw_gid)) == (name, groups)
    assert 0 == int(caps.split()[1], 16)


def test_its_environment_names_its_user_and_not_the_agents_home(alice: Scene) -> None:
    done = alice.run("echo $USER $LOGNAME $HOME $SHELL")
    user = pwd.getpwnam(alice.user)
    said = f"{alice.user} {alice.user} {user.pw_dir} {user.pw_shell}\n"
    assert said.encode() == done.out_inline


def test_its_files_are_the_agents_when_it_has_ended(alice: Scene) -> None:
    run = alice.start(
        "mkdir -p a/b && echo x > a/b/x && chmod 500 a/b && ln -s /etc/passwd l; id -u"
    )
    assert 0 == alice.runner.finished(run).returncode
    work = work_of(run)
    found = [work, work / "a", work / "a/b", work / "a/b/x"]
    assert [os.geteuid()] * 4 == [each.stat().st_uid for each in found]
    assert [0o700] * 3 == [each.stat().st_mode & 0o7777 for each in found[:3]]
    assert 0 == Path("/etc/passwd").stat().st_uid


def test_a_user_reads_nothing_of_another_users_task(
    alice: Scene, people: list[str], helper: Helper, runner: Driver
) -> None:
    theirs = alice.start("echo secret > mine; echo ready; exec sleep 600")
    wait_for(lambda: (work_of(theirs) / "mine").exists(), "alice's file")
    with driven(runner.tmp_path / "bob") as other:
        other.tmp_path.chmod(0o711)
        bob = Scene(other, helper, people[1])
        place = work_of(theirs)
        tries = f"cat {place}/mine; ls {place}; touch {place}/x; cat {runner.directory}/runner.json"
        done = bob.run(tries)
        assert (b"", 4) == (done.out_inline, done.err_inline.count(b"Permission denied")), done
    runner.link.send(frames.Cancel(theirs.task, 1, 0.0))
    assert "cancelled" == runner.finished(theirs).how


def test_a_user_signals_neither_another_users_task_nor_runner_nor_helper(
    alice: Scene, people: list[str], helper: Helper, runner: Driver
) -> None:
    theirs = alice.start("echo $$ > pid; exec sleep 600")
    wait_for(lambda: (work_of(theirs) / "pid").exists(), "alice's process")
    pid = int(wait_for((work_of(theirs) / "pid").read_text, "its number"))
    keepers = [each.pid for each in helper.keepers()]
    with driven(runner.tmp_path / "bob") as other:
        other.tmp_path.chmod(0o711)
        targets = [pid, runner.hello.pid, other.hello.pid, helper.process.pid, *keepers]
        line = "; ".join(f"kill -9 {each} && echo killed {each}" for each in targets)
        done = Scene(other, helper, people[1]).run(line)
    assert b"" == done.out_inline
    runner.link.send(frames.Cancel(theirs.task, 1, 0.0))
    assert "cancelled" == runner.finished(theirs).how


STUBBORN = (
    "trap '' TERM HUP INT; for i in 1 2 3; do "
    "(trap '' TERM; setsid sh -c 'trap \"\" TERM; env -i sleep 600 & sleep 600' &) ; done; "
    "echo up > up; while :; do sleep 1; done"
)


def living_of(user: str) -> list[int]:
    uid = pwd.getpwnam(user).pw_uid
    found = []
    for each in psutil.process_iter(["uids", "status"]):
        if each.info["uids"].real == uid and each.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(each.pid)
    return found


def test_a_cancel_kills_a_tree_of_the_user_that_ignores_term(alice: Scene) -> None:
    run = alice.start(STUBBORN)
    wait_for(lambda: (work_of(run) / "up").exists() and len(living_of(alice.user)) >= 8, "a tree")
    alice.runner.link.send(frames.Cancel(run.task, 1, 0.1))
    done = alice.runner.finished(run)
    assert ("cancelled", -9, []) == (done.how, done.returncode, living_of(alice.user))


def test_a_timeout_ends_it_and_leftovers_of_an_end_are_killed_and_counted(alice: Scene) -> None:
    assert "timeout" == alice.run("sleep 600", timeout_s=0.2, grace_s=0.1).how
    done = alice.run("(setsid sleep 600 &); exit 0")
    assert ("exit", 0, True, []) == (
        done.how, done.returncode, done.leftovers >= 1, living_of(alice.user),
    )  # fmt: skip


def test_progress_comes_from_a_file_that_only_the_user_and_the_agent_have(alice: Scene) -> None:
    run = alice.start(
        "echo '0.4 step 8/20' > $REMUDA_PROGRESS; until [ -e go ]; do sleep 0.05; done"
    )
    said = alice.runner.wait(frames.Progress, lambda each: each.task == run.task)
    assert (0.4, "step 8/20") == (said.fraction, said.text)
    assert 0o640 == (work_of(run).parent / "progress").stat().st_mode & 0o777
    (work_of(run) / "go").touch()
    assert 0 == alice.runner.finished(run).returncode


def test_its_outputs_can_be_opened_by_name(alice: Scene) -> None:
    assert b"one\n" == alice.run("echo one > /dev/stdout").out_inline


@pytest.mark.parametrize(
    ("argv", "order", "how"),
    [
        (["no-such-program", "x"], {}, "executable_not_found"),
        (["/etc/passwd", "x"], {}, "not_executable"),
        (["true", "x"], {"cwd": "/no/such/place"}, "cwd_missing"),
    ],
)
def test_what_cannot_be_started_is_named_as_for_the_agents_own(
    alice: Scene, argv: list[str], order: dict[str, str], how: str
) -> None:
    run = alice.start(*argv, **order)
    done = alice.runner.finished(run)
    assert (how, None) == (done.how, done.returncode)
    assert os.geteuid() == work_of(run).stat().st_uid


def test_a_directory_that_the_user_cannot_enter_is_missing_for_it(
    alice: Scene, place: Path
) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    done = alice.run("true", cwd=str(closed))
    assert "cwd_missing" == done.how
    assert f"for {alice.user}: {closed} (Permission denied)" in done.message


@pytest.mark.parametrize("user", ["root", "daemon", "nobody", "no-such-user"])
def test_nothing_runs_as_who_is_not_allowed(runner: Driver, helper: Helper, user: str) -> None:
    scene = Scene(runner, helper, user)
    run = scene.start("id > id")
    done = runner.finished(run)
    assert ("user_refused", False) == (done.how, (work_of(run) / "id").exists())
    assert f"user {user!r} is not among the `users`" in done.message


def test_without_a_helper_nothing_runs(alice: Scene, place: Path) -> None:
    done = alice.run("true", helper=str(place / "none.sock"))
    assert "user_refused" == done.how
    assert "is out of reach" in done.message


def test_a_killed_runner_takes_its_users_processes_along(alice: Scene) -> None:
    run = alice.start(STUBBORN)
    wait_for(lambda: (work_of(run) / "up").exists(), "a tree")
    os.kill(alice.runner.hello.pid, signal.SIGKILL)
    wait_for(lambda: living_of(alice.user) == [], "its end")
    found = wait_for(lambda: _recovered(alice.runner.directory), "the word of its end")
    assert [(run.task, 1)] == found.lost
    assert os.geteuid() == work_of(run).stat().st_uid


def _recovered(directory: Path) -> recovery.Recovered | None:
    found = recovery.recover(directory)
    return None if found.stuck else found


def test_a_killed_helper_is_swept_up_after_and_said_to_be_lost(alice: Scene) -> None:
    run = alice.start("trap '' TERM; echo up > up; setsid sleep 600 & while :; do sleep 1; done")
    wait_for(lambda: (work_of(run) / "up").exists(), "a tree")
    for each in alice.helper.keepers():
        each.kill()
    done = alice.runner.finished(run)
    assert ("exit", None, []) == (done.how, done.returncode, living_of(alice.user))


def test_a_command_is_adopted_by_the_next_agent(alice: Scene) -> None:
    run = alice.start("until [ -e go ]; do sleep 0.05; done; echo done")
    wait_for(lambda: living_of(alice.user), "its process")
    alice.runner.link.close()
    hello = alice.runner.attach()
    assert ("command", [[run.task.hex(), 1, True]]) == (hello.occupant, hello.held)
    (work_of(run) / "go").touch()
    assert b"done\n" == alice.runner.finished(run).out_inline


def test_the_next_command_of_the_same_user_has_the_same_helper(alice: Scene) -> None:
    alice.run("true")
    before = [each.pid for each in alice.helper.keepers()]
    assert 1 == len(before)
    assert [0, 0] == [alice.run("true").returncode, alice.run("true").returncode]
    assert before == [each.pid for each in alice.helper.keepers()]


def test_the_runners_own_commands_stay_the_agents(alice: Scene) -> None:
    alice.run("true")
    assert b"0\n" == alice.runner.run("id -u").out_inline
