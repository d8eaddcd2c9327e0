"""On which ports can a new scheduler of this host listen?"""

from __future__ import annotations

import errno
import random
import socket

FIRST = 12_000  # below it live well-known services, above LAST the kernel takes ports for callers
LAST = 32_000
TRIES_MAX = 200
CHANNELS = range(5)  # control, uplink, heartbeat, beacon, and the store's
DISPATCH_OFFSET = 10
DISPATCH_ROOM = 8  # nodes that can join later without a gap


def needed_ports(control: int, nodes: int) -> list[int]:
    """List the ports that follow from a control port."""
    channels = [control + offset for offset in CHANNELS]
    room = max(nodes, DISPATCH_ROOM)
    return channels + [control + DISPATCH_OFFSET + index for index in range(room)]


def are_free(host: str, ports: list[int]) -> bool:
    """Tell whether nothing listens on any of the ports."""
    return all(_is_free(host, port) for port in ports)


def free_control_port(host: str, nodes: int, chance: random.Random) -> int:
    """Choose a control port whose followers are free too; raises OSError when there is none."""
    for _ in range(TRIES_MAX):
        control = chance.randrange(FIRST, LAST)
        if are_free(host, needed_ports(control, nodes)):
            return control
    raise OSError(errno.EADDRINUSE, f"no run of free ports was found between {FIRST} and {LAST}")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
