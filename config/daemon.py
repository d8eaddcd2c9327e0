"""What do daemons do alike: find their home, read the configuration, log, serve, end in order?"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from structlog.stdlib import BoundLogger

from ..protocol.errors import RemudaError
from .findings import Finding, Level, of_level, render, to_plain
from .home import HOME_VARIABLE, Home, default_home
from .host_checks import of_runtime
from .load import Loaded, combined
from .logs import configure_logs, get_logger
from .sources import Sources

IO_FAILURE_EXIT = 70
Serve = Callable[[Home, Loaded, BoundLogger], None]
Check = Callable[[Home, Loaded], Sequence[Finding]]


def parser_of(daemon: str, *, example: str) -> argparse.ArgumentParser:
    """Make the command line that the daemons beside each other share."""
    parser = argparse.ArgumentParser(
        prog=f"remuda-{daemon}",
        description=f"The {daemon} of a remuda cluster, in the foreground.",
        epilog=f"Example: {example}",
    )
    parser.add_argument("--home", type=Path, help=f"directory of the cluster ({HOME_VARIABLE})")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="a configuration file more"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say what stands in the way; 1: something serious"
    )
    parser.add_argument("--json", action="store_true", help="with --check: as JSON")
    parser.add_argument("--profile", help="dev, test, production or your own (REMUDA_PROFILE)")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser


def home_of(given: Path | None) -> Home:
    """Return the home that is named, by an option before the environment, else the usual one."""
    return Home(given or Path(os.environ.get(HOME_VARIABLE) or default_home()))


def sources_of(home: Home, options: argparse.Namespace, settings: Mapping[str, object]) -> Sources:
    """Say where a daemon reads its configuration."""
    given = {**settings, "logging.level": options.log_level}
    return Sources(home.root, given, files=options.config, profile=options.profile or "")


def run(
    daemon: str,
    options: argparse.Namespace,
    serve: Serve,
    check: Check,
    *,
    settings: Mapping[str, object],
    disk_errors: tuple[type[Exception], ...],
) -> int:
    """Serve until told to stop, or only check; return the exit code.

    `settings` are keys of the configuration that options stand for; `disk_errors` mean that the
    disk failed.
    """
    home = home_of(options.home)
    try:
        loaded = combined(sources_of(home, options, settings).read())
    except RemudaError as error:
        sys.stderr.write(f"remuda-{daemon}: {error}\n")
        return error.exit_code
    if options.check:
        return print_findings([*of_runtime(), *check(home, loaded)], as_json=options.json)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # where nothing is read again, nothing ends
    configure_logs(loaded.settings.logging, daemon=daemon)
    log = get_logger()
    try:
        home.create()
        serve(home, loaded, log)
    except RemudaError as error:
        log.critical("cannot serve", error=str(error), code=error.code)
        return error.exit_code
    except disk_errors as error:
        log.critical("the disk failed", error=f"{type(error).__name__}: {error}")
        return IO_FAILURE_EXIT
    log.info("stopped")
    return 0


def print_findings(found: Sequence[Finding], *, as_json: bool) -> int:
    """Print what a check found; 1 when something serious is among it."""
    if as_json:
        sys.stdout.write(json.dumps(to_plain(found), indent=2) + "\n")
    else:
        sys.stdout.write(render(found))
    return int(bool(of_level(found, Level.SERIOUS)))


def stop_on_signals(stop: Callable[[], None], watch: Callable[[int], None]) -> None:
    """Let SIGTERM and SIGINT stop a loop; `watch` has it look at a descriptor that they wake."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003 - the socket's own interface
    writer.setblocking(False)  # noqa: FBT003 - the socket's own interface
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    watch(reader.fileno())
    _KEPT.extend((reader, writer))


def drain_signals() -> None:
    """Take in that signals were heard which do not end the loop."""
    with contextlib.suppress(BlockingIOError):
        while _KEPT and _KEPT[0].recv(4096):
            pass


_KEPT: list[socket.socket] = []  # open until the process ends: signals write there
