"""Is a service manager told in its own words, and does its absence or silence cost nothing?"""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.config.notify import STATUS_CHARS_MAX, Notifier


class Manager:
    """The other end: what a service manager would read."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(30)

    def hear(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@remuda-test-{secrets.token_hex(8)}"
    made = Manager(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.socket.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    made = Notifier(manager.address)
    yield made
    made.close()


def test_ready_comes_with_its_status(manager: Manager, notifier) -> None:
    notifier.ready("2 nodes")
    assert ["READY=1", "STATUS=2 nodes"] == manager.hear()


def test_a_status_is_one_short_line_whatever_is_in_it(manager: Manager, notifier) -> None:
    notifier.status("a\nREADY=1\n" + "x" * 1000)
    (line,) = manager.hear()
    assert ("STATUS=a READY=1 x", STATUS_CHARS_MAX) == (line[:18], len(line) - len("STATUS="))


def test_a_status_that_was_said_last_is_not_repeated(manager: Manager, notifier) -> None:
    for status in ("a", "a", "b"):
        notifier.status(status)
    assert [["STATUS=a"], ["STATUS=b"]] == [manager.hear(), manager.hear()]


def test_a_reload_carries_the_monotonic_time_in_microseconds(manager: Manager, notifier) -> None:
    notifier.reloading(5_000_007_999)
    assert ["RELOADING=1", "MONOTONIC_USEC=5000007"] == manager.hear()


def test_more_time_is_asked_for_in_microseconds(manager: Manager, notifier) -> None:
    notifier.extend(1.5, "reading")
    assert ["EXTEND_TIMEOUT_USEC=1500000", "STATUS=reading"] == manager.hear()


def test_what_the_manager_said_is_taken_out_of_the_environment(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000",
               "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}  # fmt: skip
    notifier = Notifier.taken_from(environ)
    notifier.close()
    assert ({"HOME": "/"}, 3_000_000_000) == (environ, notifier.watchdog_ns)


@pytest.mark.parametrize(
    "said",
    [
        {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "often"},
        {"WATCHDOG_USEC": "-5"},
        {},
    ],
)
def test_a_watchdog_of_somebody_else_or_of_nobody_is_not_pinged(manager: Manager, said) -> None:
    notifier = Notifier.taken_from({"NOTIFY_SOCKET": manager.address, **said})
    notifier.close()
    assert 0 == notifier.watchdog_ns


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_without_a_socket_to_tell_nothing_is_said(address: str) -> None:
    notifier = Notifier.taken_from({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    notifier.ready("x")
    notifier.ping()
    assert (False, 0, 0) == (notifier.is_heard, notifier.dropped, notifier.watchdog_ns)


def test_a_manager_that_is_gone_is_counted_and_told_again(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.status("a")
    assert 1 == notifier.dropped
    late = Manager(str(tmp_path / "nobody"))
    notifier.status("a")
    assert ["STATUS=a"] == late.hear()
    notifier.close()
    late.socket.close()


def test_without_a_manager_a_ping_writes_the_status_into_the_file_that_is_named(
    tmp_path: Path,
) -> None:
    environ = {"REMUDA_HEALTH_FILE": str(tmp_path / "health")}
    notifier = Notifier.taken_from(environ)
    notifier.status("2 nodes")
    assert not (tmp_path / "health").exists(), "a status is no proof of life"
    notifier.ping()
    assert ("2 nodes\n", {}) == ((tmp_path / "health").read_text(), environ)


def test_a_health_file_that_cannot_be_written_ends_no_daemon(tmp_path: Path) -> None:
    notifier = Notifier.taken_from({"REMUDA_HEALTH_FILE": str(tmp_path / "no" / "health")})
    notifier.ping()
    assert 1 == notifier.dropped
