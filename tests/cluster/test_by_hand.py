"""Does docs/cluster.md lead to a cluster? Its lines are typed on hosts that are folders here."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from remuda.cli import ports
from remuda.config.keys import Identity, generate, save_identity

from .command_line import DEADLINE_S, wait_until
from .harness import processes_naming

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SCRIPTS = Path(sys.executable).parent
LISTEN = "127.0.0.2"  # stands for 10.0.0.1
# Which lines only a real host can take; the test environment stands for what they make.
INSTALLING = ("sudo useradd", "sudo python3 -m venv", "sudo /opt/remuda/bin/pip", "sudo cp systemd")
ENABLE = "sudo systemctl enable --now "
INVITED = re.compile(r"^remuda1_\S+$", re.MULTILINE)


class Host:
    """A host of the page: a folder that stands for /var/lib/remuda, and a login with its HOME."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.name = name
        self.home = folder / name / "var"
        self.etc = folder / name / "etc"
        self.login = folder / name / "login"
        self.login.mkdir(parents=True)
        self.env = {
            "HOME": str(self.login),
            "PATH": f"{SCRIPTS}:/usr/bin:/bin",
            "COLUMNS": "160",
            "REMUDA_SCHEDULER__PORT": str(port),
            "REMUDA_NODE__GPUS": "[]",
            "REMUDA_NODE__LOCK_DIR": str(folder / "locks"),
        }
        self.daemons: list[subprocess.Popen[bytes]] = []

    def here(self, text: str) -> str:
        """Translate a line of the page to this folder; nobody here may change owners."""
        text = text.replace("/var/lib/remuda", str(self.home)).replace("10.0.0.1", LISTEN)
        text = text.replace("/etc/remuda", str(self.etc))
        text = text.replace("/opt/remuda/bin", str(SCRIPTS)).replace("-o remuda -g remuda ", "")
        return text.replace("sudo -u remuda ", "").replace("sudo ", "")

    def type(self, line: str, text: str = "") -> str:
        """Run one line in the shell of this host and return what it printed."""
        assignment = re.fullmatch(r"export (\w+)=(\S+)", line)
        if assignment:
            self.env[assignment[1]] = assignment[2]
            return ""
        done = subprocess.run(
            ["bash", "-c", self.here(line)],
            cwd=self.login,
            env=self.env,
            input=text,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert 0 == done.returncode, f"{line}\n{done.stderr}"
        return done.stdout

    def enable(self, name: str) -> None:
        """Start a daemon as its unit says."""
        parser = ConfigParser(interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(ROOT / "systemd" / f"{name}.service")
        unit = parser["Service"]
        key, _, value = unit["Environment"].partition("=")
        env = {**self.env, key: self.here(value)}
        given = Path(self.here(unit.get("EnvironmentFile", "-/missing")).removeprefix("-"))
        if given.exists():
            env |= dict([given.read_text().strip().split("=", 1)])
        with (self.login / f"{name}.log").open("wb") as log:
            daemon = subprocess.Popen(
                shlex.split(self.here(unit["ExecStart"])),
                env=env,
                stderr=log,
            )
        self.daemons.append(daemon)

    def configure(self) -> None:
        """Write the page's configuration for this host."""
        blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
        wanted = "[scheduler]" if self.name == "sched" else "[node]"
        (text,) = (block for block in blocks if wanted in block)
        (self.home / "remuda.toml").write_text(self.here(text), encoding="utf-8")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.login.glob("*.log"))


Hosts = dict[str, Host]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    port = ports.free_control_port(LISTEN, 1, random.SystemRandom())
    made = {name: Host(tmp_path, name, port) for name in ("sched", "gpu-1", "anna")}
    try:
        yield made
    except BaseException:
        print("\n".join(host.logs() for host in made.values()))
        raise
    finally:
        for host in made.values():
            for daemon in host.daemons:
                daemon.send_signal(signal.SIGINT)
                daemon.wait(DEADLINE_S)
        for process in processes_naming(str(tmp_path)):
            process.kill()


def lines_of_page() -> list[tuple[str, str]]:
    """List what the page types, and where."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    found = [line.partition("$ ") for block in blocks for line in block.splitlines()]
    return [(host, line) for host, _, line in found]


def follow(hosts: Hosts) -> list[str]:
    """Type the whole page; return what `remuda` printed, in order."""
    said: list[str] = []
    for name, line in lines_of_page():
        host = hosts[name]
        typed = line.replace("LINE", (INVITED.findall("\n".join(said)) or ["LINE"])[-1])
        if line.startswith(INSTALLING):
            continue
        if line.startswith(ENABLE):
            enable(hosts, host, line.removeprefix(ENABLE))
        elif line.startswith("sudo install -d"):  # "the same on gpu-1"
            hosts["gpu-1"].type(line)
            said.append(host.type(line))
        else:
            said.append(host.type(typed))
    return said


def enable(hosts: Hosts, host: Host, daemon: str) -> None:
    host.configure()
    host.enable(daemon)
    ready: Callable[[], bool] = (host.home / "endpoints.json").exists
    if daemon == "remuda-node":
        admin = f"sudo -u remuda {SCRIPTS}/remuda --home /var/lib/remuda"
        ready = lambda: "ready" in hosts["sched"].type(f"{admin} node list")
    wait_until(ready, f"{daemon} did not come up")


def test_a_node_that_reaches_no_scheduler_says_where_it_looked(hosts: Hosts) -> None:
    node = hosts["gpu-1"]
    folder = node.home / "keys"
    folder.mkdir(mode=0o700, parents=True)
    endpoint = f"tcp://{LISTEN}:{node.env['REMUDA_SCHEDULER__PORT']}"  # nothing listens there
    node.env["REMUDA_NODE__NAME"] = "gpu-1"
    own = Identity("gpu-1", "node", generate(), generate().public, endpoint, "lab")
    save_identity(folder / "node-gpu-1.key", own)
    node.enable("remuda-node")
    wait_until(lambda: f"{endpoint}: is it up" in node.logs(), "the node said nothing")


def test_the_page_leads_to_a_cluster_that_serves_its_user(hosts: Hosts) -> None:
    said = follow(hosts)
    assert f"{os.uname().nodename}\n" in said
    assert "lab is the default now\n" == said[-1]
    assert any(LISTEN in text for text in said)
    log = hosts["sched"].logs()
    assert str(hosts["sched"].home / "keys" / "client.key") in log
