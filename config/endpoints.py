"""Where the scheduler of a home listens now: a small file that it writes and its peers read."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..protocol.errors import Invalid
from .home import write_atomically
from .keys import check_public

ENDPOINTS_BYTES_MAX = 64 << 10
CHANNELS = ("control", "uplink", "heartbeat", "beacon")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The ports that the scheduler bound, its public key, and the run (`epoch`) they belong to."""

    cluster: str
    host: str
    control: int
    uplink: int
    heartbeat: int
    beacon: int
    scheduler_public: str
    epoch: int
    pid: int

    def url(self, channel: str) -> str:
        """Write the address of a channel as ZeroMQ dials it."""
        if channel not in CHANNELS:
            raise Invalid(f"{channel!r} is not a channel: {', '.join(CHANNELS)}", field="channel")
        return tcp_url(self.host, getattr(self, channel))


def tcp_url(host: str, port: int) -> str:
    """Write an address as ZeroMQ dials it; IPv6 goes in brackets, a wildcard means this host."""
    dialled = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"tcp://[{dialled}]:{port}" if ":" in dialled else f"tcp://{dialled}:{port}"


def check_endpoint(endpoint: str) -> str:
    """Return a text that can be dialled as it is; raises Invalid."""
    scheme, separator, address = endpoint.partition("://")
    host, colon, port = address.rpartition(":")
    if scheme != "tcp" or not separator or not host or not colon or not port.isdigit():
        raise Invalid(
            f"{endpoint!r} is not an endpoint: write it like tcp://host:7700", field="endpoint"
        )
    return endpoint


def is_loopback(url: str) -> bool:
    """Tell whether an address can be dialled from its own host only."""
    host = url.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def write_endpoints(path: Path, endpoints: Endpoints) -> None:
    """Publish the endpoints; readers never see half a file."""
    write_atomically(path, json.dumps(asdict(endpoints), indent=1).encode() + b"\n", mode=0o644)


def read_endpoints(path: Path) -> Endpoints | None:
    """Read the endpoints; None when no scheduler has written any. Raises Invalid for garbage."""
    try:
        with path.open("rb") as file:
            raw = file.read(ENDPOINTS_BYTES_MAX)
    except FileNotFoundError:
        return None
    try:
        table = json.loads(raw)
        values = {each.name: table[each.name] for each in fields(Endpoints)}
    except (ValueError, KeyError, TypeError) as error:
        raise _garbage(path) from error
    for each in fields(Endpoints):
        if type(values[each.name]).__name__ != each.type:
            raise _garbage(path)
    check_public(values["scheduler_public"])
    return Endpoints(**values)


def _garbage(path: Path) -> Invalid:
    return Invalid(f"{path}: is not an endpoints file: remove it and restart the scheduler")
