"""Does a version roll over hosts one by one, stop where one is unwell, and put that one back?"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SSH = ROOT / "tests" / "fakes" / "scripted_ssh.sh"
OLD, NEW = "0.1.0", "0.2.0"
TOOLS = {
    "sudo": 'shift; exec "$@"',
    "runuser": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "systemctl": """
verb=$1; shift
printf '%s\\n' "$verb $*" >>"$HOST_ROOT/systemctl.log"
version=$(cat "$HOST_ROOT/opt/remuda/VERSION" 2>/dev/null || echo none)
case $verb in
stop) for unit in "$@"; do rm -f "$HOST_ROOT/run/$unit"; done ;;
start) for unit in "$@"; do touch "$HOST_ROOT/run/$unit"; done ;;
is-active) test -e "$HOST_ROOT/run/$2" ;;
show)
    status="registered at tcp"
    [ ! -e "$HOST_ROOT/sick-with-$version" ] || status="not registered, trying"
    echo "$status" ;;
esac
""",
}
REMUDA = """
version=$(cat "$HOST_ROOT/opt/remuda/VERSION")
case $1 in
--version) echo "remuda $version" ;;
*) test ! -e "$HOST_ROOT/sick-with-$version" || { echo "nobody answers"; exit 5; } ;;
esac
"""
PYTHON = """
for source; do :; done
case $source in
*broken*) echo "pip: no such thing" >&2; exit 1 ;;
*.whl)
    test -s "$source"
    name=$(basename "$source") && name=${name#remuda-}
    echo "${name%%-*}" >"$HOST_ROOT/opt/remuda/VERSION" ;;
*) echo "${source##*==}" >"$HOST_ROOT/opt/remuda/VERSION" ;;
esac
"""


class Fleet:
    """Folders that stand for hosts, and the list of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.ssh = f"{SSH} {shlex.quote(str(folder))}"

    def add(self, name: str, role: str) -> Path:
        root = self.folder / name
        for each in ("bin", "run", "opt/remuda/bin", "var/lib/remuda/state/scheduler"):
            (root / each).mkdir(parents=True)
        for tool, text in TOOLS.items():
            write_script(root / "bin" / tool, text)
        write_script(root / "opt/remuda/bin/remuda", REMUDA)
        write_script(root / "opt/remuda/bin/python", PYTHON)
        (root / "opt/remuda/VERSION").write_text(f"{OLD}\n")
        (root / "var/lib/remuda/state/scheduler/journal.db").write_text("facts")
        units = ["remuda-scheduler", "remuda-store"] if role == "scheduler" else ["remuda-node"]
        for unit in units:
            (root / "run" / unit).touch()
        self.lines.append(f"{name} {role}")
        return root

    def version(self, name: str) -> str:
        return (self.folder / name / "opt/remuda/VERSION").read_text().strip()

    def log(self, name: str) -> list[str]:
        path = self.folder / name / "systemctl.log"
        return path.read_text().splitlines() if path.exists() else []

    def deploy(self, release: str = f"remuda=={NEW}", *words: str) -> tuple[int, list[str], str]:
        """Roll, and return the exit code, what was said of each host, and the last remark."""
        hosts = self.folder / "hosts.txt"
        hosts.write_text("# the fleet\n" + "\n".join(self.lines) + "\n")
        command = [sys.executable, str(ROOT / "bin/deploy"), release, "--hosts", str(hosts)]
        command += ["--ssh", self.ssh, "--health-tries", "1", *words]
        command = ["sh", "-c", 'export DEPLOY=$$; exec "$@"', "sh", *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr.strip()


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\nset -eu\n{text}")
    path.chmod(0o755)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    made = Fleet(tmp_path)
    made.add("gpu-1", "node")
    made.add("sched", "scheduler")
    made.add("gpu-2", "node")
    return made


@pytest.fixture
def through_ssh(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Reach the fleet's hosts by a real ssh, all at one server on the loopback."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None or os.geteuid() != 0:
        pytest.skip("no OpenSSH server on this machine, or no right to be one")
    folder = tmp_path_factory.mktemp("ssh")
    folder.chmod(0o755)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it insists
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meant = f'{SSH} {shlex.quote(str(fleet.folder))} "$TEST_HOST" "$SSH_ORIGINAL_COMMAND"'
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nUsePAM no\n"
        f"PidFile {folder}/pid\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\n"
        f"PermitRootLogin yes\nPasswordAuthentication no\nAcceptEnv TEST_HOST\n"
        f"ForceCommand {meant}\n"
    )
    at = f"HostName 127.0.0.1\nPort {port}\nUser root\nIdentityFile {folder}/user\n"
    at += f"StrictHostKeyChecking no\nUserKnownHostsFile {folder}/known\nLogLevel ERROR\n"
    names = [line.split()[0] for line in fleet.lines]
    hosts = [f"Host {name}\nSetEnv TEST_HOST={name}\n{at}" for name in names]
    (folder / "ssh_config").write_text("".join(hosts))
    subprocess.run([server, "-f", folder / "sshd_config", "-E", folder / "log"], check=True)
    fleet.ssh = f"ssh -F {folder}/ssh_config -o BatchMode=yes -o ConnectionAttempts=20"
    yield fleet
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)


def test_a_wheel_goes_through_a_real_ssh_and_a_sick_host_gets_back_what_it_had(
    through_ssh: Fleet, tmp_path: Path
) -> None:
    wheel = tmp_path / f"remuda-{NEW}-py3-none-any.whl"
    wheel.write_bytes(bytes(range(256)) * 4_096)
    (through_ssh.folder / "gpu-2" / f"sick-with-{NEW}").touch()
    code, said, _ = through_ssh.deploy(str(wheel))
    assert [f"[1/3] sched (scheduler): {OLD} -> {NEW}", f"[2/3] gpu-1 (node): {OLD} -> {NEW}"] == (
        said[:2]
    )
    assert said[2].startswith("[3/3] gpu-2 (node): FAILED: health: ")
    versions = [through_ssh.version(name) for name in ("sched", "gpu-1", "gpu-2")]
    assert (1, [NEW, NEW, OLD]) == (code, versions)
    carried = through_ssh.folder / "gpu-1/var/lib/remuda-incoming" / wheel.name
    assert wheel.read_bytes() == carried.read_bytes()


def test_every_host_gets_the_version_the_scheduler_first(fleet: Fleet) -> None:
    code, said, _ = fleet.deploy()
    assert [
        f"[1/3] sched (scheduler): {OLD} -> {NEW}",
        f"[2/3] gpu-1 (node): {OLD} -> {NEW}",
        f"[3/3] gpu-2 (node): {OLD} -> {NEW}",
    ] == said
    assert (0, {NEW}) == (code, {fleet.version(name) for name in ("sched", "gpu-1", "gpu-2")})


def test_programs_are_replaced_while_their_daemon_is_stopped_and_the_journal_is_kept(
    fleet: Fleet,
) -> None:
    fleet.deploy()
    changes = [line for line in fleet.log("sched") if line.split()[0] in ("stop", "start")]
    assert ["stop remuda-scheduler remuda-store", "start remuda-scheduler remuda-store"] == changes
    kept = fleet.folder / "sched/var/lib/remuda/scheduler-before/journal.db"
    before = fleet.folder / "sched/opt/remuda.before/VERSION"
    assert ("facts", f"{OLD}\n") == (kept.read_text(), before.read_text())


@pytest.mark.parametrize("sick", ["sched", "gpu-1"])
def test_a_host_that_is_not_well_afterwards_is_put_back_and_nobody_else_is_touched(
    fleet: Fleet, sick: str
) -> None:
    (fleet.folder / sick / f"sick-with-{NEW}").touch()
    code, said, remark = fleet.deploy()
    assert (1, OLD, OLD) == (code, fleet.version(sick), fleet.version("gpu-2"))
    assert "FAILED: health: " in said[-1]
    assert said[-1].endswith(f"it has {OLD} again and is well")
    assert "run the same command again" in remark
    changes = [line.split()[0] for line in fleet.log(sick)]
    assert ["stop", "start"] * 2 == [verb for verb in changes if verb in ("stop", "start")]


def test_a_version_that_cannot_be_installed_leaves_the_old_one_running(fleet: Fleet) -> None:
    code, said, _ = fleet.deploy("remuda==0.2.0+broken")
    assert (1, OLD) == (code, fleet.version("sched"))
    assert "install: pip: no such thing; it has 0.1.0 again and is well" in said[-1]
    assert (fleet.folder / "sched/run/remuda-scheduler").exists()


def test_an_interrupt_puts_the_host_back_that_is_under_way(fleet: Fleet) -> None:
    write_script(
        fleet.folder / "sched/opt/remuda/bin/python",
        'kill -INT "$DEPLOY"; sleep 5',
    )
    code, said, _ = fleet.deploy()
    assert (1, OLD) == (code, fleet.version("sched"))
    interrupted = f"FAILED: install: interrupted; it has {OLD} again and is well"
    assert [f"[1/3] sched (scheduler): {interrupted}"] == said


def test_a_run_after_a_failure_goes_on_where_it_stopped(fleet: Fleet) -> None:
    trouble = fleet.folder / "gpu-1" / f"sick-with-{NEW}"
    trouble.touch()
    fleet.deploy()
    trouble.unlink()
    code, said, _ = fleet.deploy()
    assert (0, "[1/3] sched (scheduler): has it already") == (code, said[0])
    assert 1 == sum(line.startswith("start") for line in fleet.log("sched"))


def test_a_host_that_is_unwell_before_is_not_touched(fleet: Fleet) -> None:
    (fleet.folder / "sched/run/remuda-store").unlink()
    code, said, _ = fleet.deploy()
    assert (1, OLD) == (code, fleet.version("sched"))
    assert "FAILED: check: remuda-store does not run" in said[0]
    assert not (fleet.folder / "sched/opt/remuda.before").exists()


def test_a_host_that_nobody_reaches_stops_the_rest(fleet: Fleet) -> None:
    (fleet.folder / "gpu-1/unreachable").touch()
    code, said, _ = fleet.deploy()
    assert (1, NEW, OLD) == (code, fleet.version("sched"), fleet.version("gpu-2"))
    assert "No route to host" in said[-1]


def test_a_dry_run_looks_and_changes_nothing(fleet: Fleet) -> None:
    code, said, _ = fleet.deploy(f"remuda=={NEW}", "--dry-run")
    assert (0, f"[1/3] sched (scheduler): {OLD} -> {NEW}: would be installed") == (code, said[0])
    assert all(line.startswith("is-active") for line in fleet.log("sched"))
    assert not (fleet.folder / "sched/opt/remuda.before").exists()


def test_a_wheel_is_carried_to_where_only_root_writes(fleet: Fleet, tmp_path: Path) -> None:
    wheel = tmp_path / f"remuda-{NEW}-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    code, _, _ = fleet.deploy(str(wheel), "--only", "gpu-2")
    carried = fleet.folder / "gpu-2/var/lib/remuda-incoming" / wheel.name
    assert (0, NEW, b"a wheel") == (code, fleet.version("gpu-2"), carried.read_bytes())
    assert 0o700 == carried.parent.stat().st_mode & 0o777


@pytest.mark.parametrize(
    "line", ["gpu-1", "gpu-1 worker", "-oProxyCommand=x node", "$(reboot) node", "a b c"]
)
def test_a_line_that_names_no_host_is_refused_before_anything_is_done(fleet, line) -> None:
    fleet.lines.append(line)
    code, said, remark = fleet.deploy()
    assert (1, []) == (code, said)
    assert f"hosts.txt:{len(fleet.lines) + 1}: a line is `HOST scheduler` or `HOST node`" in remark


@pytest.mark.parametrize("release", ["remuda", "remuda-9.whl", "evil==1", "remuda==1; reboot"])
def test_what_is_no_release_is_refused(fleet: Fleet, release: str) -> None:
    code, said, remark = fleet.deploy(release)
    assert (1, []) == (code, said)
    assert "name a wheel that exists" in remark


def test_a_host_outside_the_list_is_refused(fleet: Fleet) -> None:
    code, _, remark = fleet.deploy(f"remuda=={NEW}", "--only", "gpu-9")
    assert (1, True) == (code, "--only gpu-9: not in" in remark)
