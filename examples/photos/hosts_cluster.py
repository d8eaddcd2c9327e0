"""How does the example get a cluster over hosts that share nothing, all on this one machine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hosts import Host, HostsError, Site, site
from local_cluster import OTHER_CLUSTER, ClusterError

from remuda import Client

PROJECT = Path(__file__).resolve().parents[2]
READY_S = 60.0
STOP_S = 20.0
POLL_S = 0.1
FRONT = {"scheduler": "remuda.scheduler", "store": "remuda.store"}

Say = Callable[[str], None]


@contextlib.contextmanager
def hosts_cluster(nodes: int, say: Say) -> Iterator[Client]:
    """Start scheduler and store here, and a node on each of some hosts; stop all in the end.

    Each host joins by the line of an invitation. After an error the folder with the logs stays.
    """
    folder = Path(tempfile.mkdtemp(prefix="remuda-hosts-"))
    names = [f"host-{number}" for number in range(1, nodes + 1)]
    try:
        with site(folder / "hosts", names, [PROJECT]) as made, _front(folder, made) as home:
            for host in made.hosts:
                say(f"{host.name} joins at {host.address}, without any file of ours")
                _join(folder, home, host)
            with Client(home) as client:
                _wait_ready(client, nodes)
                yield client
                say("stopping the cluster")
    except HostsError as error:
        raise ClusterError(f"no hosts can be made on this machine: {error}") from error
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            say(f"the cluster is stopped; its logs are in {folder}")
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _front(folder: Path, made: Site) -> Iterator[Path]:
    """Run scheduler and store at the machine's address among the hosts."""
    home = folder / "front"
    home.mkdir(mode=0o700)
    (home / "remuda.toml").write_text(f'[scheduler]\nlisten = "{made.address}"\nport = 0\n')
    running: list[subprocess.Popen[bytes]] = []
    ready = {"scheduler": home / "endpoints.json", "store": home / "run" / "store.json"}
    try:
        for name, module in FRONT.items():
            with (folder / f"{name}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        [sys.executable, "-P", "-m", module, "--home", str(home)],
                        env=_environment(),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
            _wait(ready[name].exists, f"the {name} did not start: see {folder}/{name}.log")
        yield home
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _join(folder: Path, home: Path, host: Host) -> None:
    """Invite a host and let its node join by that line; it ends with its namespace."""
    program = Path(sys.executable).with_name("remuda")
    words = ["key", "invite", "--role", "node", "--name", host.name, "-q"]
    invited = subprocess.run(
        [str(program), *words, "--home", str(home)],
        env=_environment(), capture_output=True, text=True, timeout=READY_S, check=False,
    )  # fmt: skip
    if invited.returncode != 0:
        raise ClusterError(f"remuda key invite failed: {invited.stderr.strip()}")
    env = {
        "REMUDA_JOIN": invited.stdout.strip(),
        "REMUDA_NODE__LOCK_DIR": str(host.folder / "lock"),
    }
    with (folder / f"{host.name}.log").open("wb") as log:
        host.start([host.program("remuda-node")], env, stdout=log, stderr=log)


def _wait_ready(client: Client, nodes: int) -> None:
    def are_ready() -> bool:
        return sum(row["state"] == "ready" for row in client.nodes()) == nodes

    _wait(are_ready, "not all of the hosts joined")


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(otherwise)
        time.sleep(POLL_S)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in OTHER_CLUSTER}
