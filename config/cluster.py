"""Which cluster is meant: option > environment > `cluster use` > `/etc/remuda` > `up`'s home."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..protocol.errors import Invalid, NotFound, Unreachable
from .endpoints import check_endpoint, read_endpoints
from .home import ETC, HOME_VARIABLE, SERVICE_HOME, Home, default_home
from .keys import Identity, KeyFileError, KeyPair, fingerprint, load_identity
from .logins import current, identity_file

CLIENT = "client"  # whose key a home keeps for its owner
DEFAULT = "default"  # nothing named a cluster: the home of `remuda up` is meant


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """A cluster that was named: by a home, or by an identity file, or both; and by what."""

    home: Home | None
    identity_file: Path
    endpoint: str
    source: str


@dataclass(frozen=True, slots=True)
class Connection:
    """All that a client needs to dial a scheduler."""

    cluster: str
    endpoint: str
    scheduler_public: str
    key: KeyPair
    name: str


def find_cluster(
    *,
    home: Path | None = None,
    cluster: str | None = None,
    endpoint: str | None = None,
    env: Mapping[str, str] | None = None,
    etc: Path = ETC,
) -> ClusterRef:
    """Find the cluster that options, environment or files name; raises NotFound or Invalid.

    An endpoint replaces the address only: the identity comes from what else is named.
    """
    variables = os.environ if env is None else env
    found = _named(home, cluster, "option", variables)
    address = endpoint or ""
    if found is None:
        address = address or variables.get("REMUDA_ENDPOINT", "")
        env_home = _path(variables.get(HOME_VARIABLE))
        found = _named(env_home, variables.get("REMUDA_CLUSTER"), "environment", variables)
    if found is None:
        found = _named(None, current(variables), "remuda cluster use", variables)
    if found is None:
        found = _on_this_host(etc, default_home(variables))
    if not address:
        return found
    return ClusterRef(None, found.identity_file, check_endpoint(address), found.source)


def connection(ref: ClusterRef) -> Connection:
    """Read what is needed to dial a cluster; raises Unreachable when nothing runs there."""
    if ref.endpoint or ref.home is None:
        identity = load_identity(ref.identity_file, lent=True)
        return _connection(identity, ref.endpoint or identity.endpoint)
    running = read_endpoints(ref.home.endpoints_file)
    if running is None and _is_a_users(ref.home, ref.identity_file):
        identity = load_identity(ref.identity_file, lent=True)
        return _connection(identity, identity.endpoint)
    if running is None:
        raise Unreachable(f"no scheduler runs in {ref.home.root}: {_how_to_start(ref.home.root)}")
    identity = load_identity(ref.identity_file, lent=True)
    if identity.scheduler_public != running.scheduler_public:
        # ZeroMQ would only reconnect for ever, without a word.
        raise KeyFileError(
            f"{ref.identity_file}: trusts the scheduler {fingerprint(identity.scheduler_public)},"
            f" but {fingerprint(running.scheduler_public)} runs there: ask an admin of that cluster"
            " for a line to log in with (`remuda key invite`)"
        )
    return _connection(identity, running.url("control"))


def _how_to_start(home: Path) -> str:
    if home == SERVICE_HOME:
        return "`systemctl status remuda-scheduler` says why"
    installed = f", or look at that of the services here: --home {SERVICE_HOME}"
    return "start one with `remuda up`" + installed * SERVICE_HOME.is_dir()


def _is_a_users(home: Home, identity_file: Path) -> bool:
    """Tell whether a home has a key for a scheduler that is elsewhere, and none of its own."""
    return identity_file.exists() and not home.key_file("scheduler").exists()


def _connection(identity: Identity, endpoint: str) -> Connection:
    return Connection(
        cluster=identity.cluster,
        endpoint=endpoint,
        scheduler_public=identity.scheduler_public,
        key=identity.key,
        name=identity.name,
    )


def _named(
    home: Path | None, cluster: str | None, source: str, env: Mapping[str, str]
) -> ClusterRef | None:
    if home is not None and cluster:
        raise Invalid(f"{source}: a home and a cluster are both named: name one of them")
    if home is not None:
        return _of_home(home, source)
    if not cluster:
        return None
    try:
        path = identity_file(cluster, env)
    except NotFound as error:
        raise NotFound(f"{source}: {error.message}") from error
    return ClusterRef(None, path, "", source)


def _of_home(root: Path, source: str) -> ClusterRef:
    home = Home(root.expanduser().absolute())
    return ClusterRef(home, home.key_file(CLIENT), "", source)


def _on_this_host(etc: Path, default: Path) -> ClusterRef:
    identity = etc / f"{CLIENT}.key"
    if identity.is_file():
        return ClusterRef(None, identity, "", str(etc))
    return _of_home(default, DEFAULT)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
