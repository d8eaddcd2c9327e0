"""What stands in the way of a good scheduler on this host? Asked by `remuda-scheduler --check`.

Nothing is changed, and a scheduler that runs here is not disturbed: its ports are left alone, its
journal is only read.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import psutil
import redis

from ..config import sqlite
from ..config.disk_checks import Place, look_at_disk
from ..config.endpoints import read_endpoints
from ..config.findings import Finding, Level, fine, of_level, serious, warning
from ..config.home import Home
from ..config.host_checks import of_limits
from ..config.keys import KeyFileError, load_authorized, load_key_pair
from ..config.load import Loaded
from ..config.settings_redis import RedisSettings, hide_password
from ..config.settings_scheduler import SchedulerSettings
from ..config.state_dir import is_claimed
from ..protocol.errors import Invalid, NotFound
from ..protocol.resources import format_bytes
from .assembly import FILES_PER_NODE
from .audit import first_broken_link
from .journal import connect
from .schema import JOURNAL_FILE, JournalError, check_can_open

DISK_WANTED_BYTES = 2 << 30
INTEGRITY_S = 20.0  # a larger journal is looked at in part
PROGRESS_STEPS = 500  # of SQLite, or pages of its check, between two looks at the clock
LAZY_PING_MS = 20.0
RESERVED_FILES = 1_024


def check(home: Home, loaded: Loaded) -> list[Finding]:
    """Look at everything that this scheduler needs, and at what it keeps."""
    settings = loaded.settings.scheduler
    folder = settings.state_dir or home.scheduler_dir
    runs = is_claimed(folder)
    return [
        *of_disk(settings, folder),
        *of_journal(folder / JOURNAL_FILE),
        *of_ports(home, settings, runs=runs),
        *of_keys(home),
        *of_files(settings),
        *of_redis(loaded.settings.redis),
    ]


def of_disk(settings: SchedulerSettings, folder: Path) -> list[Finding]:
    if not folder.is_dir():
        text = f"{folder} is not there yet: the first start makes it"
        return [fine("disk", text)]
    place = Place(
        folder,
        "[scheduler] state_dir",
        settings.disk_free_bytes_min,
        max(DISK_WANTED_BYTES, 2 * settings.disk_free_bytes_min),
        "below [scheduler] disk_free_bytes_min no task is taken in",
    )
    return look_at_disk(place)


def of_journal(path: Path, patience_s: float = INTEGRITY_S) -> Iterator[Finding]:
    """Read the journal: its schema, whether SQLite finds it whole, whether its audit is."""
    if not path.exists():
        yield fine("journal", "there is none yet")
        return
    try:
        connection = connect(path, read_only=True)
    except apsw.Error as error:
        yield serious(
            "journal", f"{path} cannot be opened: {error}", "`remuda restore` brings a backup back"
        )
        return
    with contextlib.closing(connection):
        try:
            check_can_open(connection)
        except JournalError as error:
            yield serious("journal", str(error), "docs/upgrade.md")
        ends = time.monotonic() + patience_s
        connection.set_progress_handler(lambda: time.monotonic() > ends, PROGRESS_STEPS)
        yield from _integrity(connection, path)
        yield from _audit(connection)


def _integrity(connection: apsw.Connection, path: Path) -> Iterator[Finding]:
    size = format_bytes(path.stat().st_size)
    try:
        damage = sqlite.damage_in(connection)
    except apsw.InterruptError:
        yield fine("journal", f"{size}: too large to read whole here; no damage seen so far")
    except apsw.Error as error:
        yield serious("journal", f"{path} cannot be read: {error}", _RESTORE)
    else:
        if damage:
            yield serious("journal", f"{path} is damaged: {damage[0]}", _RESTORE)
        else:
            yield fine("journal", f"{size}, whole (PRAGMA integrity_check)")


_RESTORE = "stop the scheduler, keep a copy of the directory, and `remuda restore` a backup"


def _audit(connection: apsw.Connection) -> Iterator[Finding]:
    try:
        broken = first_broken_link(connection)
    except apsw.InterruptError:
        return
    except apsw.Error as error:
        yield warning("audit", f"cannot be read: {error}", _RESTORE)
        return
    if broken is None:
        yield fine("audit", "its chain holds")
    else:
        yield serious(
            "audit",
            f"row {broken} was altered, or one before it removed",
            "somebody wrote into the journal past remuda: compare with a backup",
        )


def of_ports(home: Home, settings: SchedulerSettings, *, runs: bool) -> Iterator[Finding]:
    """Try whether the ports are free to bind, or belong to the scheduler that runs here."""
    if runs:
        yield from _ports_of_the_running(home)
        return
    if settings.port == 0:
        yield fine("ports", "any free ones are taken ([scheduler] port = 0)")
        return
    plan = settings.ports()
    wanted = {
        "control": plan.control,
        "uplink": plan.uplink,
        "heartbeat": plan.heartbeat,
        "beacon": plan.beacon,
        "dispatch": plan.dispatch_first,
    }
    taken = False
    for name, port in wanted.items():
        if why := _why_not_bound(settings.listen, port):
            taken = True
            yield serious(
                "ports",
                f"{name} port {port} of {settings.listen} cannot be bound: {why}",
                "end that program, or set [scheduler] port to another one",
            )
    if not taken:
        listed = ", ".join(f"{name} {port}" for name, port in wanted.items())
        yield fine("ports", f"free on {settings.listen}: {listed} (and one per node after it)")


def _ports_of_the_running(home: Home) -> Iterator[Finding]:
    try:
        running = read_endpoints(home.endpoints_file)
    except Invalid as error:
        yield serious("ports", str(error), "restart the scheduler, which writes it anew")
        return
    if running is None or not psutil.pid_exists(running.pid):
        yield warning(
            "ports",
            "a scheduler holds the journal and has not said where it listens",
            "it may be starting (a long journal takes its time): its log says, see "
            "`journalctl -u remuda-scheduler`, or where `remuda up` runs",
        )
    else:
        yield fine(
            "ports", f"a scheduler (process {running.pid}) listens on {running.url('control')}"
        )


def _why_not_bound(listen: str, port: int) -> str:
    host = {"*": "0.0.0.0"}.get(listen, listen)  # noqa: S104 - what the user asked for
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, number) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"{_holder(port)} has it"
        return str(error.strerror or error)
    return ""


def _holder(port: int) -> str:
    """Name the process that listens on a port, as far as we may see it."""
    with contextlib.suppress(psutil.Error, OSError):
        for each in psutil.net_connections("tcp"):
            bound = each.laddr.port if each.laddr else 0
            if each.status == psutil.CONN_LISTEN and bound == port and each.pid:
                return f"{psutil.Process(each.pid).name()} (process {each.pid})"
    return "another program"


def of_keys(home: Home) -> Iterator[Finding]:
    found = list(_key_trouble(home))
    yield from found or [fine("keys", f"{home.keys_dir} is ours alone")]


def _key_trouble(home: Home) -> Iterator[Finding]:
    for path, read in (
        (home.key_file("scheduler"), load_key_pair),
        (home.authorized_file, load_authorized),
    ):
        try:
            read(path)
        except NotFound:
            continue  # made, or not needed
        except KeyFileError as error:
            yield serious("keys", str(error), "without it nobody is served")
    if home.keys_dir.is_dir() and home.keys_dir.stat().st_mode & 0o077:
        mode = home.keys_dir.stat().st_mode & 0o777
        yield warning(
            "keys", f"others can look into {home.keys_dir} (mode {mode:04o})", "chmod 700 it"
        )


def of_files(settings: SchedulerSettings) -> list[Finding]:
    """Say whether as many nodes as are allowed could connect."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.nodes_max * FILES_PER_NODE + RESERVED_FILES
    if 0 <= hard < wanted:
        return of_level(of_limits(wanted), Level.WARNING)  # it raises its own up to there
    return [fine("limits", f"open files for {settings.nodes_max:,} nodes")]


def of_redis(settings: RedisSettings) -> Iterator[Finding]:
    """Ask the mirror's server whether it is there, and how fast it answers."""
    if settings.url is None:
        yield fine("redis", "no mirror is wanted ([redis] url is not set)")
        return
    shown = hide_password(settings.url)
    try:
        password = _password(settings.password_file)
        server = redis.Redis.from_url(
            settings.url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            **({"password": password} if password else {}),
        )
        with contextlib.closing(server):
            begun = time.perf_counter()
            server.ping()
            took_ms = (time.perf_counter() - begun) * 1_000
            about = dict(server.info("server"))
    except (redis.RedisError, OSError, ValueError) as error:
        yield warning(
            "redis",
            f"{shown} does not serve: {error}",
            "tasks do not need it; readers of the mirror do: is it up, is the password right?",
        )
        return
    said = f"{shown}: Redis {about.get('redis_version', '?')}, {took_ms:.1f} ms to answer"
    if took_ms > LAZY_PING_MS:
        yield warning("redis", said, "the mirror will lag: put the server nearer")
    else:
        yield fine("redis", said)


def _password(file: Path | None) -> str:
    return file.read_text("utf-8").splitlines()[0] if file else ""
