"""What does `remuda up` write into a home: keys, their bootstrap list, one file per daemon."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.endpoints import tcp_url
from ..config.first_keys import Trusted, ensure_admin, ensure_identity
from ..config.home import Home, write_atomically
from ..config.keys import AuthorizedKey, ensure_key_pair, load_authorized, save_authorized
from .daemons import SCHEDULER, STORE, Daemon, module_argv
from .dealing import Share

if TYPE_CHECKING:
    from ..config.settings import Settings


_MODULES = {SCHEDULER: "remuda.scheduler", STORE: "remuda.store"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cluster on this host is made of."""

    home: Home
    settings: Settings
    control_port: int
    shares: Sequence[Share | None]  # one per node; None: the node offers all it finds
    python_path: Path

    @property
    def endpoint(self) -> str:
        """Return the address at which this host reaches the scheduler."""
        return tcp_url(self.settings.scheduler.listen, self.control_port)

    @property
    def node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, len(self.shares) + 1)]


def prepare(plan: Plan) -> list[Daemon]:
    """Write all that the daemons of a plan need and return them, in the order of their start."""
    home = plan.home
    home.create()
    public = ensure_key_pair(home.key_file(SCHEDULER)).public
    scheduler = Trusted(public, plan.endpoint, plan.settings.cluster.name)
    admin = ensure_admin(home, scheduler)
    nodes = [
        ensure_identity(home.key_file(f"node-{name}"), name, "node", scheduler)
        for name in plan.node_names
    ]
    authorized = {key.name: key for key in _authorized(home)}
    for each in (*nodes, admin):
        authorized[each.name] = AuthorizedKey(each.name, each.role, each.key.public)
    save_authorized(home.authorized_file, list(authorized.values()))
    return [*_serving(plan), *_nodes(plan)]


def orphans(home: Home) -> list[Daemon]:
    """Describe the nodes of a home that have runners alive."""
    return [
        _described(home, folder.name)
        for folder in sorted((home.state_dir / "nodes").glob("*"))
        if _config_file(home, folder.name).exists()
        and any(_is_alive(lock) for lock in folder.glob("runners/*/lock"))
    ]


def last_control_port(home: Home) -> int | None:
    """Return the port that the last `up` of this home chose, if there was one."""
    try:
        text = _config_file(home, SCHEDULER).read_text(encoding="utf-8")
        return int(tomllib.loads(text)["scheduler"]["port"])
    except (OSError, ValueError, KeyError):
        return None


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Write flat tables as TOML."""
    lines = ["# Written by `remuda up` at each start: put your own settings into remuda.toml.\n"]
    for table, values in tables.items():
        lines.append(f"\n[{table}]\n")
        lines += [f"{_key(key)} = {_value(value)}\n" for key, value in values.items()]
    return "".join(lines)


def _serving(plan: Plan) -> list[Daemon]:
    """Describe scheduler and store, whose port follows from the scheduler's."""
    text = toml({"scheduler": {"port": plan.control_port}})
    return [_daemon(plan, name, text) for name in (SCHEDULER, STORE)]


def _nodes(plan: Plan) -> list[Daemon]:
    daemons = []
    for name, share in zip(plan.node_names, plan.shares, strict=True):
        text = toml({"node": _node_table(plan, name, share), "tasks.env": _task_env(plan)})
        daemons.append(_daemon(plan, name, text))
    return daemons


def _daemon(plan: Plan, name: str, text: str) -> Daemon:
    write_atomically(_config_file(plan.home, name), text.encode())
    return _described(plan.home, name)


def _described(home: Home, name: str) -> Daemon:
    """Describe a daemon whose configuration stands in the home."""
    options = ["--home", str(home.root), "--config", str(_config_file(home, name))]
    module = _MODULES.get(name, "remuda.node")
    if name not in _MODULES:
        options += ["--name", name]
    argv = module_argv(module, *options)
    return Daemon(name, argv, home.root, home.pid_file(name), home.log_file(name))


def _config_file(home: Home, name: str) -> Path:
    return home.run_dir / f"{name}.toml"


def _is_alive(lock: Path) -> bool:
    """Tell whether a runner holds its lock, which it does for life."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # it was removed meanwhile
    return False


def _node_table(plan: Plan, name: str, share: Share | None) -> dict[str, object]:
    configured = plan.settings.node.python_path
    paths = [plan.python_path, *(path for path in configured if path != plan.python_path)]
    table: dict[str, object] = {"name": name, "python_path": [str(path) for path in paths]}
    if share is not None:
        table |= {"cpus": share.cpus, "memory": share.memory_bytes, "gpus": list(share.gpus)}
    return table


def _task_env(plan: Plan) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), **plan.settings.tasks.env}


def _authorized(home: Home) -> list[AuthorizedKey]:
    return load_authorized(home.authorized_file) if home.authorized_file.exists() else []


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else _value(name)


def _value(value: object) -> str:
    """Write a text, a number or a list of texts; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
