"""The helper's process: one for each connection, from systemd (descriptor 0) or `--listen`."""

from __future__ import annotations

import argparse
import functools
import os
import pwd
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from . import allowed, keeping
from .allowed import Denied

CONNECTIONS_MAX = 1_024
SOCKET_MODE = 0o660


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; a wrong start is one line."""
    parser = argparse.ArgumentParser(
        prog="python -I -m remuda.node.run_as",
        description="Starts tasks as the users that a file of root's allows, for the node agent.",
        epilog="example: python -I -m remuda.node.run_as --listen /run/remuda-run-as.sock",
    )
    parser.add_argument(
        "--allowed",
        type=Path,
        default=allowed.FILE,
        metavar="FILE",
        help="what it may do (default: %(default)s)",
    )
    parser.add_argument(
        "--listen", type=Path, metavar="SOCKET", help="take connections here, without systemd"
    )
    parser.add_argument("--check", action="store_true", help="read the file, say what it allows")
    options = parser.parse_args(argv)
    read = functools.partial(allowed.read, options.allowed)
    if os.geteuid() != 0 and not options.check:
        keeping.note("only root can become other users")
        return 2
    try:
        if options.check:
            return _check(read())
        if options.listen is not None:
            _listen(options.listen, read)
        keeping.serve(_given(), read)
    except (Denied, OSError) as error:
        keeping.note(str(error))
        return 2
    return 0


def _check(found: allowed.Allowed) -> int:
    """Say of each user whether tasks can be started as it."""
    code = 0
    for name in found.users:
        try:
            user = found.user(name)
        except Denied as error:
            print(f"{name}: refused: {error}")  # noqa: T201 - what was asked for
            code = 1
        else:
            groups = ",".join(map(str, user.groups))
            print(f"{name}: uid {user.uid}, gid {user.gid}, groups {groups}")  # noqa: T201
    return code


def _given() -> socket.socket:
    """Return the connection that is our descriptor 0."""
    try:
        return socket.socket(fileno=0)
    except OSError as error:
        raise Denied("no connection was given: say --listen SOCKET, or --check") from error


def _listen(path: Path, read: functools.partial[allowed.Allowed]) -> None:
    """Take connections, each in a process of its own; returns in that process, never here."""
    agent = pwd.getpwnam(read().agent)
    if path.exists() and not path.is_socket():
        raise Denied(f"{path} is there, and no socket: name another place")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777)
    listener.bind(str(path))
    os.umask(before)
    os.chown(path, 0, agent.pw_gid)
    path.chmod(SOCKET_MODE)
    listener.listen()
    children: set[int] = set()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        while _reap(children, wait=len(children) >= CONNECTIONS_MAX):
            pass
        pid = os.fork()
        if pid == 0:
            listener.close()
            os.dup2(connection.fileno(), 0)
            connection.close()
            return
        children.add(pid)
        connection.close()


def _reap(children: set[int], *, wait: bool) -> bool:
    """Collect one helper that ended, if there is one; with `wait`, wait for it."""
    try:
        pid, _ = os.waitpid(-1, 0 if wait else os.WNOHANG)
    except ChildProcessError:
        return False
    children.discard(pid)
    return bool(pid)


if __name__ == "__main__":
    sys.exit(main())
