"""How does the example get a cluster of its own, and how is nothing of it left behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from remuda import Client

UP_S = 120.0
DOWN_S = 60.0
NODES_S = 60.0
POLL_S = 0.2
HERE = Path(__file__).resolve().parent
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# What names another cluster must not lead us, or the commands we start, to it.
OTHER_CLUSTER = ("REMUDA_HOME", "REMUDA_CLUSTER", "REMUDA_ENDPOINT")

Say = Callable[[str], None]


class ClusterError(Exception):
    """Say that the cluster could not be started or lost its nodes, and where its logs are."""


@contextlib.contextmanager
def local_cluster(nodes: int, keep: bool, say: Say) -> Iterator[Client]:
    """Start a scheduler and nodes that have the handler `inpaint`; stop them in the end.

    With `keep` they stay, and it is said how to use and to stop them. After an error the folder
    with the logs stays.
    """
    home = Path(tempfile.mkdtemp(prefix="remuda-quickstart-"))
    (home / "remuda.toml").write_text(_configuration())
    try:
        _remuda("up", home, UP_S, "--nodes", str(nodes), "--detach")
        with Client(home) as client:
            _wait_nodes(client, nodes, home)
            yield client
    except BaseException as error:
        _stop(home)
        if isinstance(error, KeyboardInterrupt):
            shutil.rmtree(home, ignore_errors=True)
        else:
            say(f"the cluster is stopped; its logs are in {home}")
        raise
    if keep:
        _explain(home, say)
    else:
        say("stopping the cluster")
        _stop(home)
        shutil.rmtree(home, ignore_errors=True)


def _configuration() -> str:
    """Declare the handler, found in this folder; JSON's text is TOML's too."""
    return (
        f"[node]\npython_path = [{json.dumps(str(HERE))}]\n\n"
        '[handlers.inpaint]\ntarget = "repair:Inpainter"\nworkers = 1\n'
    )


def _remuda(verb: str, home: Path, timeout_s: float, *options: str) -> None:
    """Run one command on the cluster; a Ctrl-C is not for it but for us, who then stop it."""
    program = Path(sys.executable).with_name("remuda")
    environment = {key: value for key, value in os.environ.items() if key not in OTHER_CLUSTER}
    # Into a file: what stays up may hold its standard output open, and a pipe would never end.
    with tempfile.TemporaryFile("w+") as said:
        try:
            done = subprocess.run(
                [str(program), verb, "--home", str(home), *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=timeout_s,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"remuda {verb} did not end within {timeout_s:g} s") from error
        except FileNotFoundError as error:
            raise ClusterError(f"{program} is missing: bin/quickstart sets it up") from error
        if done.returncode != 0:
            said.seek(0)
            raise ClusterError(f"remuda {verb} failed: {said.read().strip()}")


def _wait_nodes(client: Client, nodes: int, home: Path) -> None:
    """Wait until every node has registered, so that all of them get work."""
    deadline = time.monotonic() + NODES_S
    while len(client.nodes()) < nodes:
        if time.monotonic() > deadline:
            raise ClusterError(f"not all of the {nodes} nodes came up: see the logs in {home}")
        time.sleep(POLL_S)


def _stop(home: Path) -> None:
    """Stop whatever runs there; a second Ctrl-C must not leave daemons behind."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
    try:
        with contextlib.suppress(ClusterError):  # what made us stop is the news
            _remuda("down", home, DOWN_S)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _explain(home: Path, say: Say) -> None:
    remuda = Path(sys.executable).with_name("remuda")
    say("")
    say("the cluster is still up; use it and stop it with")
    say(f"  export REMUDA_HOME={home}")
    say(f"  {remuda} status")
    say(f"  {remuda} task list")
    say(f"  {remuda} down && rm -r {home}")
