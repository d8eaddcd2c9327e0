"""What do `remuda up` and `remuda down` print, and how does `--detach` hand over?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..protocol.errors import Invalid
from . import screen
from .commands import Session, command
from .interrupts import raising_interrupts
from .writing import counted

if TYPE_CHECKING:
    from ..config.home import Home
    from . import up as ups

PORT_MAX = 65_000  # the others follow it
DOWN_WAIT_S = 20.0
HOME_PANEL = "Which home on this host: --home DIR, else REMUDA_HOME, else ~/.local/share/remuda."


@command(
    "up",
    example="remuda up --nodes 2\nremuda up --detach && remuda run -- hostname && remuda down",
    which=HOME_PANEL,
)
def up(
    session: Session,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Nodes to start (default: 1).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=PORT_MAX, help="Control port, the others follow it (default: free ones)."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Leave it in the background.")] = False,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="dev, test, production, or your own.")
    ] = "",
) -> int:
    """Run a scheduler, a store and nodes on this host, until Ctrl-C.

    Prints one line `ready ...` when tasks can be submitted. Keys, state and logs are kept in the
    home (default: ~/.local/share/remuda).
    """
    from ..config.home import PROFILE_VARIABLE
    from . import up as ups

    if profile:
        os.environ[PROFILE_VARIABLE] = profile  # for all that it starts
    wish = ups.Wish(_home(session), nodes, port)
    if detach:
        return _detach(wish, quiet=session.quiet)
    tell = _quiet if session.quiet else ups.stderr_line
    return ups.run(wish, tell, _say_ready)


@command("down", example="remuda down --home /srv/remuda", which=HOME_PANEL)
def down(session: Session) -> int:
    """Stop what `up` started; tasks that run go back to the queue."""
    from . import daemons
    from . import up as ups
    from .processes import open_process
    from .setup_home import orphans

    home = _home(session)
    tell: Callable[[str], None] = _quiet if session.quiet else screen.remark
    before = daemons.running(home.run_dir)
    supervisor = open_process(home.pid_file(daemons.SUPERVISOR))
    before.pop(daemons.SUPERVISOR, None)
    if supervisor is not None:
        tell(f"stopping `remuda up` (pid {supervisor.pid})")
        supervisor.send(signal.SIGTERM)
        if not supervisor.wait_end(DOWN_WAIT_S):
            tell(f"it did not stop within {DOWN_WAIT_S:g} s: killed")
            supervisor.send(signal.SIGKILL)
            supervisor.wait_end(daemons.KILL_WAIT_S)
    left = {name: p for name, p in before.items() if not p.wait_end(0)}
    daemons.stop(left, orphans(home), tell)
    ups.forget(home)
    _report(session, home.root, sorted(before), was_up=supervisor is not None)
    return 0


def _report(session: Session, root: Path, names: list[str], *, was_up: bool) -> None:
    serving = [name for name in ("scheduler", "store") if name in names]
    nodes = len(names) - len(serving)
    if session.json:
        screen.document({"home": str(root), "stopped": names, "was_up": was_up})
    elif not names and not was_up:
        screen.line(f"nothing runs in {root}")
    else:
        parts = [f"the {name}" for name in serving]
        parts += [counted(nodes, "node")] if nodes else []
        *most, last = parts or ["`remuda up`"]
        screen.line(
            f"stopped {' and '.join([', '.join(most), last] if most else [last])} in {root}"
        )


def _home(session: Session) -> Home:
    from ..config.home import HOME_VARIABLE, Home, default_home

    if session.cluster or session.endpoint:
        raise Invalid(
            "`up` and `down` are for this host: name a home with --home, or leave --cluster and "
            "--endpoint out"
        )
    chosen = session.home or os.environ.get(HOME_VARIABLE) or default_home()
    return Home(Path(chosen).expanduser().absolute())


def _say_ready(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _quiet(_text: str) -> None:
    """Tell nothing."""


def _detach(wish: ups.Wish, *, quiet: bool) -> int:
    """Start `up` again in a session of its own and wait until it is ready."""
    from . import daemons
    from . import up as ups

    wish.home.create()
    os.close(ups.lock(wish.home))  # refuses at once where a cluster is up already
    log_file = wish.home.log_file(daemons.SUPERVISOR)
    daemons.rotate(log_file)
    options = ["--home", str(wish.home.root)]
    options += ["--nodes", str(wish.nodes)] if wish.nodes is not None else []
    options += ["--port", str(wish.port)] if wish.port is not None else []
    if not quiet:
        screen.remark(f"starting in the background (log: {log_file})")
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            daemons.module_argv("remuda.cli.main", "up", *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert child.stdout is not None
    try:
        with raising_interrupts():
            ready = child.stdout.readline().decode()
        if ready:
            sys.stdout.write(ready)
            return 0
        sys.stderr.write(f"{daemons.last_line(log_file)}\n")
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    finally:
        child.stdout.close()
        child.returncode = 0  # it goes on without us
