"""Is this host fit for any daemon of ours: its Python, its libraries, its clock, its limits?"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Iterator
from importlib import metadata

import zmq

from .clock_checks import judge_kept, kept_right
from .findings import Finding, fine, serious, warning
from .keys import generate

PYTHON_OLDEST = (3, 11)
LIBZMQ_OLDEST = (4, 3, 4)  # before that, strangers could crash or stall a CURVE socket
SQLITE_OLDEST = (3, 51, 3)  # before that, a reset of the write-ahead log could damage a database
CURVE_MESSAGES, CURVE_BYTES = 64, 256 << 10
CURVE_SLOW_MIB_S = 40.0  # what a libzmq without libsodium's fast code stays below
CURVE_PATIENCE_MS = 5_000
FILES_MIN, PROCESSES_MIN = 1_024, 512
MIB = 1 << 20
HOST_TOPICS = frozenset({"python", "libzmq", "sqlite", "ntp"})
"""What every daemon of one host finds alike."""


def of_runtime() -> list[Finding]:
    """Look at what every daemon and client needs."""
    return [
        *judge_python(platform.python_version_tuple()[:2], platform.python_version()),
        *judge_libzmq(zmq.zmq_version_info(), has_curve=zmq.has("curve")),
        *judge_curve(curve_mib_s() if zmq.has("curve") else 0.0),
        *judge_sqlite(_sqlite_version()),
        *judge_kept(kept_right()),
        *of_limits(FILES_MIN),
    ]


def judge_python(found: tuple[str, ...], said: str) -> Iterator[Finding]:
    if tuple(map(int, found)) < PYTHON_OLDEST:
        oldest = ".".join(map(str, PYTHON_OLDEST))
        yield serious("python", f"Python {said}", f"remuda needs Python {oldest} or newer")
    else:
        yield fine("python", f"Python {said}, remuda {metadata.version('remuda')}")


def judge_libzmq(found: tuple[int, int, int], *, has_curve: bool) -> Iterator[Finding]:
    said = ".".join(map(str, found))
    if not has_curve:
        yield serious(
            "libzmq",
            f"libzmq {said} was built without CURVE: nothing can be encrypted, so nothing starts",
            "install the wheels of pyzmq (`pip install --only-binary pyzmq -U pyzmq`)",
        )
    elif found < LIBZMQ_OLDEST:
        wanted = ".".join(map(str, LIBZMQ_OLDEST))
        yield warning(
            "libzmq",
            f"libzmq {said} has known holes",
            f"install a pyzmq that brings {wanted} or newer: `pip install -U pyzmq`",
        )
    else:
        yield fine("libzmq", f"libzmq {said} with CURVE, pyzmq {zmq.pyzmq_version()}")


def judge_curve(mib_s: float) -> Iterator[Finding]:
    if not mib_s:
        return
    said = f"CURVE moves {mib_s:,.0f} MiB/s on one connection here"
    if mib_s < CURVE_SLOW_MIB_S:
        yield warning(
            "libzmq",
            f"{said}: files and large values will be slow",
            "a busy host (look again when it is idle), or a libzmq without libsodium: install "
            "the wheels of pyzmq",
        )
    else:
        yield fine("libzmq", said)


def curve_mib_s() -> float:
    """Move 16 MiB between two CURVE sockets of this process; 0 when that fails."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server, client = generate(), generate()
    try:
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.curve_server = 1
        pull.curve_secretkey = server.secret.encode()
        push.curve_serverkey = server.public.encode()
        push.curve_publickey, push.curve_secretkey = client.public.encode(), client.secret.encode()
        port = pull.bind_to_random_port("tcp://127.0.0.1")
        push.connect(f"tcp://127.0.0.1:{port}")
        data = bytes(CURVE_BYTES)
        push.send(b"")
        if not pull.poll(CURVE_PATIENCE_MS):
            return 0.0
        pull.recv()
        begun = time.perf_counter()
        for _ in range(CURVE_MESSAGES):
            push.send(data)
        for _ in range(CURVE_MESSAGES):
            if not pull.poll(CURVE_PATIENCE_MS):
                return 0.0
            pull.recv()
        return CURVE_MESSAGES * CURVE_BYTES / MIB / (time.perf_counter() - begun)
    except zmq.ZMQError:
        return 0.0
    finally:
        context.destroy(linger=0)


def judge_sqlite(found: tuple[int, ...]) -> Iterator[Finding]:
    said = ".".join(map(str, found))
    if found < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        yield warning(
            "sqlite",
            f"SQLite {said} may damage a database when its log is reset (mended in {oldest})",
            "`pip install -U apsw`, which brings a newer one",
        )
    else:
        yield fine("sqlite", f"SQLite {said}")


def _sqlite_version() -> tuple[int, ...]:
    import apsw

    return tuple(map(int, apsw.sqlite_lib_version().split(".")))


def of_limits(files_min: int) -> Iterator[Finding]:
    """Say which limits of this process are too low; what a daemon needs may be more."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    low = False
    for what, limit, least, how in (
        ("open files", files, files_min, f"LimitNOFILE={max(65_536, files_min)}"),
        ("processes", processes, PROCESSES_MIN, "LimitNPROC=infinity"),
    ):
        if 0 <= limit < least:
            low = True
            yield warning(
                "limits",
                f"this process may have {limit} {what}; {least:,} are wanted",
                f"raise it: {how} in the unit, or `ulimit`",
            )
    if not low:
        yield fine("limits", f"{files:,} open files" if files >= 0 else "any number of open files")
