"""Is a store that was killed found again where it was?"""

from remuda.protocol.errors import Conflict
from remuda.store.__main__ import listen


class Ports:
    """A wire of which some ports are taken; any free one is 40000."""

    def __init__(self, *taken: int) -> None:
        self.taken = taken

    def listen(self, port: int) -> int:
        if port in self.taken:
            raise Conflict(f"port {port} is taken")
        return port or 40_000


def test_where_any_port_will_do_the_last_one_is_taken_again() -> None:
    assert 35_000 == listen(Ports(), 0, last=35_000)  # type: ignore[arg-type]  # it listens


def test_a_last_port_that_is_taken_is_given_up() -> None:
    assert 40_000 == listen(Ports(35_000), 0, last=35_000)  # type: ignore[arg-type]  # as above


def test_a_port_that_was_asked_for_is_the_one() -> None:
    assert 7_704 == listen(Ports(), 7_704, last=35_000)  # type: ignore[arg-type]  # as above
