"""How can one machine be several hosts: network namespaces that share no file with each other.

Each host has an address of its own behind a bridge, a home, a virtual environment and a copy of
remuda; what is hidden from it (the project's folder, the client's files) is not there at all.
It needs root, and a kernel that lets it make namespaces.
"""

import contextlib
import ipaddress
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import remuda

NETWORKS = ipaddress.ip_network("10.83.0.0/16")
PREFIX = 24
TOOLS = ("ip", "unshare", "sh", "mount")
STEP_S = 20.0
KILL_S = 10.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Runs inside the namespaces: what is lent is held aside, what is hidden goes, what was lent comes
# to where the host has it, and the rest is the command. Lists end with `--`.
_ENTER = """
set -e
aside=$1; shift
n=0
while [ "$1" != -- ]; do
    mkdir -p "$aside/$n"; mount --rbind "$1" "$aside/$n"; n=$((n+1)); shift
done
shift
while [ "$1" != -- ]; do mount -t tmpfs -o size=1m none "$1"; shift; done
shift
n=0
while [ "$1" != -- ]; do
    mkdir -p "$1"; mount --rbind "$aside/$n" "$1"; n=$((n+1)); shift
done
shift
cd /
exec "$@"
"""

_sites = itertools.count()


class HostsError(Exception):
    """Say that this machine cannot be several hosts, and why."""


@dataclass(frozen=True)
class Host:
    """One host: its name is also that of its network namespace's suffix."""

    name: str
    namespace: str
    address: str
    folder: Path
    hidden: tuple[Path, ...]

    @property
    def home(self) -> Path:
        """Return the home directory of whoever works there."""
        return self.folder / "home"

    def program(self, name: str) -> Path:
        """Return a program of the host's own environment, as `remuda-node`."""
        return self.folder / "venv" / "bin" / name

    def inside(
        self, command: Sequence[str | Path], lent: Sequence[tuple[Path, Path]] = ()
    ) -> list[str]:
        """Wrap a command so that it runs there, in the root directory; no process stays around it.

        `lent` are folders of this machine, and where the host has them.
        """
        libraries = (Path(sysconfig.get_path("purelib")), self.folder / "site")
        sources, targets = zip(libraries, *lent, strict=True)
        return [
            *("ip", "netns", "exec", self.namespace),
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh"),
            *(str(self.folder / "lent"), *map(str, sources), "--"),
            *(*map(str, self.hidden), "--", *map(str, targets), "--"),
            *map(str, command),
        ]

    def start(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, **popen: object
    ) -> "subprocess.Popen[str]":
        """Start a command there, in a clean environment."""
        clean = {"PATH": PATH, "HOME": str(self.home), "LANG": "C.UTF-8", **(env or {})}
        streams: dict[str, object] = {"stdin": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(self.inside(command), env=clean, **{**streams, **popen})  # type: ignore[call-overload,no-any-return]  # as the caller says


@dataclass(frozen=True)
class Site:
    """Hosts behind one bridge; `address` is that of the machine itself there."""

    address: str
    hosts: tuple[Host, ...]


@contextlib.contextmanager
def site(folder: Path, names: Sequence[str], hidden: Sequence[Path]) -> Iterator[Site]:
    """Make hosts with their files in a folder; whatever runs there is killed in the end.

    Raises HostsError where the machine does not allow it.
    """
    _check_allowed()
    sweep()
    network = _free_network()
    bridge = f"rm{os.getpid()}x{next(_sites)}"  # an interface has 15 characters
    addresses = network.hosts()
    front = str(next(addresses))
    hosts = tuple(
        Host(name, f"{bridge}-{name}", str(next(addresses)), folder / name, tuple(hidden))
        for name in names
    )
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "alias", mark())
        _ip("addr", "add", f"{front}/{PREFIX}", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, host in enumerate(hosts):
            _join_network(host, bridge, f"{bridge}v{number}")
            furnish(host.folder)
        yield Site(front, hosts)
    finally:
        for host in hosts:
            _clear(host.namespace)
        with contextlib.suppress(HostsError):
            _ip("link", "del", bridge)


def mark() -> str:
    """Return what names this process for good: its number is used again, its birth is not."""
    pid = os.getpid()
    return f"{pid}-{_born(pid)}-{_numbering()}"


def is_gone(text: str) -> bool:
    """Tell whether the process of a mark has ended; of one that we cannot see nobody knows."""
    found = re.fullmatch(r"(\d+)-(\d+)-(\d+)", text)
    return found is not None and found[3] == _numbering() and _born(int(found[1])) != found[2]


def sweep() -> None:
    """Remove the hosts of processes that were killed: they could not do it themselves."""
    for link in json.loads(_ip("-j", "link", "show", "type", "bridge") or "[]"):
        bridge = str(link.get("ifname", ""))
        if not re.fullmatch(r"rm\d+x\d+", bridge) or not is_gone(str(link.get("ifalias", ""))):
            continue
        namespaces = [line.split()[0] for line in _ip("netns", "list").splitlines() if line]
        for namespace in namespaces:
            if namespace.startswith(f"{bridge}-"):
                _clear(namespace)
        with contextlib.suppress(HostsError):  # somebody else sweeps as well
            _ip("link", "del", bridge)


def _born(pid: int) -> str:
    """Return when a process began, in ticks since the boot; nothing when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # the 22nd; the name in brackets may hold blanks


def _numbering() -> str:
    """Name the namespace in which processes have the numbers that we see."""
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _check_allowed() -> None:
    if os.geteuid() != 0:
        raise HostsError("network namespaces need root")
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise HostsError(f"{tool} is missing (packages iproute2 and util-linux)")
    _run("unshare", "--mount", "--propagation", "private", "true")


def _free_network() -> ipaddress.IPv4Network:
    """Choose a network that no interface of this machine is in."""
    known = _ip("-o", "-4", "addr", "show")
    networks = list(NETWORKS.subnets(new_prefix=PREFIX))
    start = os.getpid() % len(networks)
    for network in [*networks[start:], *networks[:start]]:
        if f" {str(network.network_address).rpartition('.')[0]}." not in known:
            return network
    raise HostsError(f"no free network in {NETWORKS}")


def _join_network(host: Host, bridge: str, cable: str) -> None:
    """Give a host its namespace and an address on the bridge."""
    _ip("netns", "add", host.namespace)
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip("link", "set", cable, "master", bridge, "up")
    _ip("-n", host.namespace, "addr", "add", f"{host.address}/{PREFIX}", "dev", "eth0")
    for link in ("lo", "eth0"):
        _ip("-n", host.namespace, "link", "set", link, "up")


def furnish(folder: Path, libraries: Path | None = None) -> None:
    """Install remuda in a host's folder: a copy of the package, an environment, its programs.

    What remuda needs lies in `libraries`, else where the host's namespace has it.
    """
    (folder / "home").mkdir(parents=True)
    package = Path(remuda.__file__).parent
    shutil.copytree(package, folder / "lib" / "remuda")  # compiled: times stay as they are
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / "bin"
    (purelib,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (purelib / "remuda.pth").write_text(f"{folder / 'lib'}\n{libraries or folder / 'site'}\n")
    for name, module in (("remuda-node", "remuda.node.__main__"), ("remuda", "remuda.cli.main")):
        script = programs / name
        script.write_text(
            f"#!{programs / 'python'} -P\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)


def _clear(namespace: str) -> None:
    """Kill what runs in a host's namespace and remove that; the files are the caller's."""
    with contextlib.suppress(HostsError):
        for pid in _ip("netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        _ip("netns", "del", namespace)


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _run(*words: str) -> str:
    """Run a tool; raises HostsError with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=STEP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostsError(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise HostsError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":  # a look around: what does a host see?
    import tempfile

    with tempfile.TemporaryDirectory() as place, site(Path(place), ["a"], []) as made:
        (host,) = made.hosts
        sys.exit(host.start(["sh", "-c", "ip addr; pwd; ls ~"]).wait())
