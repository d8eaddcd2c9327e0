"""Does the work of a host that was restarted move at once, long before its silence would tell?

The host is one of far.py's on which the kernel's name of the boot is a file of ours.
"""

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from remuda.client import control
from remuda.config.endpoints import read_endpoints
from remuda.config.keys import Identity, generate, save_identity

from .command_line import wait_until
from .far import NODES, far
from .harness import Cluster, processes_naming, real_cluster

pytestmark = pytest.mark.cluster

NAME = "gpu-9"
FINISH_S = 60.0
SETTINGS = '[scheduler]\nlost_after = "1h"\nreplace_after = "2h"\n'
BOOT = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


class Host:
    """A node with a home of its own that can be switched off and on again."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.home = folder / NAME
        self.boot = self.home / "boot"
        pair = generate()
        control.allow_key(cluster.client.link, NAME, "node", pair.public)
        found = read_endpoints(cluster.home.endpoints_file)
        assert found is not None
        endpoint = f"tcp://{found.host}:{found.control}"
        key = Identity(NAME, "node", pair, found.scheduler_public, endpoint, found.cluster)
        keys = self.home / "keys"
        keys.mkdir(mode=0o700, parents=True)
        save_identity(keys / f"node-{NAME}.key", key)
        self.locks = folder / "locks"
        self.agent: subprocess.Popen[bytes] | None = None

    def switch_on(self) -> None:
        self.boot.write_text(f"{uuid.uuid4()}\n")
        settings = {"REMUDA_NODE__LOCK_DIR": str(self.locks)}
        booted = ["unshare", "--mount", "sh", "-c", BOOT, str(self.boot)]
        python = far().python(NODES[1], settings, [self.home, self.locks], booted)
        daemon = ["-m", "remuda.node", "--home", str(self.home), "--name", NAME]
        self.agent = subprocess.Popen([*python, *daemon], cwd="/", stderr=subprocess.DEVNULL)

    def switch_off(self) -> None:
        """End everything at once, as a power cut does."""
        wait_until(self._is_all_gone, "something is left")
        assert self.agent is not None
        self.agent.wait()

    def _is_all_gone(self) -> bool:
        """Kill what there is; a runner may have started its command meanwhile."""
        doomed = processes_naming(str(self.home))
        for process in doomed:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not doomed


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    probe = ["unshare", "--mount", "true"]
    if os.geteuid() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no right to make a mount namespace")
    with real_cluster(tmp_path, 1, settings=SETTINGS) as made:
        yield made


def test_what_ran_on_a_host_that_was_restarted_runs_elsewhere_at_once(
    cluster: Cluster, tmp_path: Path, common: Path
) -> None:
    host = Host(tmp_path, cluster)
    flag = common / "may-end"
    script = f'while [ ! -e "{flag}" ]; do sleep 0.05; done; echo "$REMUDA_NODE"'
    link = cluster.client.link
    try:
        host.switch_on()
        wait_until(
            lambda: NAME in [row["name"] for row in control.list_nodes(link)], "it does not join"
        )
        cluster.client.drain("node-1")
        policies = ("rerun", "fence", "fail")
        tasks = {
            policy: cluster.client.submit_command(
                ["sh", "-c", script], if_node_lost=policy, cpus=0.1
            )
            for policy in policies
        }
        cluster.note(tasks.values())
        for task in tasks.values():
            wait_until(
                lambda task=task: control.show_task(link, task.key)["state"] == "running",
                "it does not start",
            )
        host.switch_off()
        cluster.client.undrain("node-1")
        flag.touch()
        host.switch_on()
        with pytest.raises(Exception, match="node_lost"):
            tasks["fail"].result(FINISH_S)
        for policy in ("rerun", "fence"):
            tasks[policy].result(FINISH_S)
            attempts = control.show_task(link, tasks[policy].key)["attempts"]
            assert ["node_lost", ""] == [row["code"] for row in attempts]
            assert NAME == attempts[0]["node"]
    finally:
        host.switch_off()
