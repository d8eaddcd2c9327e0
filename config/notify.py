"""How is the service manager told how a daemon is? Datagrams to the socket that it names.

The protocol is sd_notify(3). Where no manager asked to be told, every call does nothing. In a
container there is none: REMUDA_HEALTH_FILE names a file that is written anew in place of a ping.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE = "WATCHDOG_PID"
HEALTH_FILE_VARIABLE = "REMUDA_HEALTH_FILE"
# Whoever looks at the file takes it for stale after this time.
HEALTH_WITHIN_NS = 30_000_000_000
STATUS_CHARS_MAX = 200
# A manager that does not read for so long is not waited for.
SEND_WAIT_S = 1.0
NS_PER_USEC = 1_000


class Notifier:
    """Tells the manager; what it does not take is dropped, since no daemon ends over that."""

    def __init__(self, address: str = "", watchdog_ns: int = 0) -> None:
        self.watchdog_ns = watchdog_ns if address else 0
        self.dropped = 0
        self._socket: socket.socket | None = None
        self._status = ""
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(SEND_WAIT_S)
            # A leading @ is how the environment writes an abstract address.
            self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Take what the manager said out of the environment: it is not for our children."""
        address = environ.pop(SOCKET_VARIABLE, "")
        health_file = environ.pop(HEALTH_FILE_VARIABLE, "")
        usec = environ.pop(WATCHDOG_VARIABLE, "")
        whose = environ.pop(WATCHDOG_PID_VARIABLE, "")
        is_ours = whose in ("", str(os.getpid()))
        watchdog_ns = int(usec) * NS_PER_USEC if usec.isdecimal() and is_ours else 0
        if health_file and not address:
            return HealthFile(Path(health_file))
        return cls(address if address.startswith(("/", "@")) else "", watchdog_ns)

    @property
    def is_heard(self) -> bool:
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Say that work can be taken; also what ends a reload."""
        self._send("READY=1", self._status_line(status))

    def status(self, status: str) -> None:
        """Say how it goes in one line, unless that was said last."""
        if status != self._status:
            self._send(self._status_line(status))

    def reloading(self, mono_ns: int) -> None:
        """Say that the configuration is being read anew; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={mono_ns // NS_PER_USEC}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", self._status_line(status))

    def extend(self, seconds: float, status: str) -> None:
        """Ask for more time to start or to stop, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", self._status_line(status))

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _status_line(self, status: str) -> str:
        self._status = status
        return f"STATUS={' '.join(status.split())[:STATUS_CHARS_MAX]}"

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # it is being restarted, or does not read: it will be told again
            self.dropped += 1
            self._status = ""


class HealthFile(Notifier):
    """Keeps a file young for as long as a manager would be pinged; in it stands the status."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.watchdog_ns = HEALTH_WITHIN_NS
        self._path = path

    @property
    def is_heard(self) -> bool:
        return True

    def ping(self) -> None:
        try:
            self._path.write_text(f"{self._status}\n", encoding="utf-8")
        except OSError:  # a full disk: the file grows old, which says it
            self.dropped += 1
