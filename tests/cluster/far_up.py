"""Run `remuda up` with each node's agent on a host of its own, as a file describes it.

    far_up.py DESCRIPTION up OPTIONS...

Only the start of an agent differs. It begins in `/`, so that what `up` promises to tasks of its own
host (its working directory and its PATH) is nothing here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remuda.cli import daemons
from remuda.cli.main import main
from remuda.cli.processes import Process
from remuda.config.home import HOME_VARIABLE

start_here = daemons.start


def start(daemon: daemons.Daemon) -> Process:
    """Start a daemon, an agent on its host."""
    host = DESCRIPTION.get(daemon.name)
    if host is None:
        return start_here(daemon)
    # Settings that a test laid over the environment are the agent's as well.
    given = {key: text for key, text in os.environ.items() if key.startswith("REMUDA_")}
    given.pop(HOME_VARIABLE, None)
    return start_here(moved(daemon, host, given))


def moved(
    daemon: daemons.Daemon, host: Mapping[str, Any], environment: Mapping[str, str]
) -> daemons.Daemon:
    """Describe an agent as it starts on its host, to which what it needs is brought."""
    _bring(daemon, host)
    given = [f"{key}={text}" for key, text in environment.items()]
    words = [*host["before"], *given, host["python"], *daemon.argv[1:]]
    return dataclasses.replace(daemon, argv=tuple(words), folder=Path("/"))


def _bring(daemon: daemons.Daemon, host: Mapping[str, Any]) -> None:
    """Copy to the host what its agent needs of the home: its configuration and its key."""
    home, there = Path(daemon.pid_file).parents[1], Path(host["home"])
    if there == home:
        return
    Path(host["makes"]).mkdir(mode=0o700, parents=True, exist_ok=True)
    there.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (
        *home.glob("*.toml"),
        home / "run" / f"{daemon.name}.toml",
        home / "keys" / f"node-{daemon.name}.key",
    ):
        copy = there / path.relative_to(home)
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy2(path, copy)


if __name__ == "__main__":
    DESCRIPTION: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text())
    daemons.start = start
    os.chdir("/")
    del sys.argv[1]
    main()
