"""What the metrics endpoint can be told: where it listens, and how many kinds of tasks it tells."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from .fields import Section, Text, setting

PORT_MAX = 65_535
KINDS_MAX = 200


def host_and_port(address: str) -> tuple[str, int]:
    """Split `127.0.0.1:7709` or `[::1]:7709`; raises ValueError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= PORT_MAX):
        raise ValueError("an address with its port is written 127.0.0.1:7709 or [::1]:7709")
    return host, int(port)


def _checked(found: str) -> str:
    host_and_port(found)
    return found


Address = Annotated[Text, AfterValidator(_checked)]


class MetricsSettings(Section):
    """What Prometheus reads of the scheduler over HTTP, without a key: `/metrics`, and its health.

    Without an address nothing is served. Whoever reaches it reads names of nodes and of functions.
    """

    READERS = ("scheduler",)

    listen: Address | None = setting(
        None, "address and port of /metrics, /livez and /readyz; port 0: a free one; unset: none"
    )
    kinds_max: int = setting(
        30, "kinds of tasks with series of their own; the others count as other", 1, KINDS_MAX
    )
