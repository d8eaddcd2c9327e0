"""Is what nodes complain of told once, with the names of all who do?"""

from remuda.protocol.capabilities import Capabilities
from remuda.scheduler.fleet import Node
from remuda.scheduler.node_rows import alarms

CLOCK, DISK = "clock is off by more than 2 s", "the disk is nearly full"


def node(name: str, *said: str, connected: bool = True) -> Node:
    return Node(name, Capabilities(1_000, 1 << 30, alarms=list(said)), connected=connected)


def test_equal_alarms_share_a_line_and_others_keep_their_own() -> None:
    found = alarms([node(name, CLOCK) for name in "abcdef"] + [node("g", DISK, CLOCK)])
    assert [f"{CLOCK} on 7 nodes: a, b, c, d, e, ...", f"node g: {DISK}"] == found


def test_a_node_that_is_not_heard_complains_of_nothing() -> None:
    assert [f"node a: {CLOCK}"] == alarms([node("a", CLOCK), node("b", CLOCK, connected=False)])
