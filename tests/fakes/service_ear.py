"""A service manager's ear: the socket that daemons tell how they are, and what they said there."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

from .raw import WAIT_S, wait_for


class ServiceManager:
    """Hears all that is said, beside the test; `variables` are for the environment of a daemon."""

    def __init__(self, folder: Path, watchdog_s: float = 0) -> None:
        self.address = str(folder / "notify.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self.variables = {"NOTIFY_SOCKET": self.address}
        if watchdog_s:
            self.variables["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self.said: list[str] = []
        self.pinged_s = time.monotonic()
        self._over, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def pings(self) -> int:
        return self.said.count("WATCHDOG=1")

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self.pinged_s

    def statuses(self) -> list[str]:
        return [line.removeprefix("STATUS=") for line in self.said if line.startswith("STATUS=")]

    def wait_said(self, line: str) -> None:
        wait_for(lambda: line in self.said, line)

    def wait_pings(self, more: int) -> None:
        wanted = self.pings + more
        wait_for(lambda: self.pings >= wanted, f"{more} pings more")

    def wait_silence(self, seconds: float) -> None:
        """Wait until nothing pinged for so long; fails where something always does."""
        assert seconds < WAIT_S
        wait_for(lambda: self.silent_s >= seconds, f"{seconds} s without a ping")

    def _listen(self) -> None:
        import select

        while True:
            ready, _, _ = select.select([self._socket, self._over], [], [])
            if self._over in ready:
                return
            lines = self._socket.recv(4096).decode().split("\n")
            if "WATCHDOG=1" in lines:
                self.pinged_s = time.monotonic()
            self.said += lines

    def close(self) -> None:
        os.write(self._wake, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._over)
        os.close(self._wake)
