"""Which daemons live on this host, and what does each say is in its way?

Each is asked through its own `--check`, in a process of its own: a driver that hangs, or a
configuration that is wrong, is then a finding and no end of the examination.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config.cluster import find_cluster
from ..config.findings import Finding, Level, fine, serious, warning
from ..config.home import SERVICE_HOME, Home
from ..config.host_checks import HOST_TOPICS, of_runtime
from ..config.store_home import objects_dir
from ..protocol.errors import RemudaError
from .commands import Session
from .daemons import SCHEDULER, STORE, module_argv

PATIENCE_S = 60.0
OUTPUT_BYTES_MAX = 1 << 20
NODES_MAX = 64
UNITS = ("remuda-scheduler", "remuda-store", "remuda-node")
NODE_KEYS = "node-*.key"


@dataclass(frozen=True, slots=True)
class Section:
    """What was found about one part: a host, a daemon, a cluster."""

    title: str
    findings: list[Finding] = field(default_factory=list)


def this_host() -> Section:
    """Look at what daemons and clients need alike, and at the driver and the services here."""
    return Section("this host", [*of_runtime(), *_driver(), *_units()])


def home_meant(session: Session) -> Home | None:
    """Return the home whose daemons are on this host, if one is."""
    try:
        ref = find_cluster(home=session.home, cluster=session.cluster, endpoint=session.endpoint)
    except RemudaError:
        return None  # the part about the cluster says it
    if ref.home is not None and _has_daemons(ref.home):
        return ref.home
    if not session.home and not session.cluster and not session.endpoint:
        services = Home(SERVICE_HOME)
        if _has_daemons(services):
            return services
    return None


def _has_daemons(home: Home) -> bool:
    try:
        return bool(_commands(home))
    except PermissionError:
        return True


def daemons(home: Home, known: Sequence[Finding] = ()) -> Iterator[Section]:
    """Ask every daemon that lives in a home; what is `known` of the host is not said again.

    Root asks as the user of the home, as whom the daemons run: keys and disks are that user's.
    """
    try:
        commands = _commands(home)
        status = home.root.stat()
    except PermissionError:
        text = f"{home.root} can only be read by the user of its daemons"
        who = "`sudo -u remuda remuda doctor`, or as root"
        yield Section("the daemons", [warning("home", text, who)])
        return
    user = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    for title, argv in commands:
        asked = ask(argv, user=user)
        findings = [each for each in asked if each.topic not in HOST_TOPICS and each not in known]
        yield Section(f"{title} ({home.root})", findings)


def _commands(home: Home) -> list[tuple[str, tuple[str, ...]]]:
    """List the daemons of a home and how each is asked. Raises PermissionError."""
    found = []
    if home.key_file(SCHEDULER).exists():
        found.append((SCHEDULER, _argv("remuda.scheduler", home, SCHEDULER)))
    if objects_dir(home).exists():
        found.append((STORE, _argv("remuda.store", home, STORE)))
    names = [path.stem.removeprefix("node-") for path in sorted(home.keys_dir.glob(NODE_KEYS))]
    for name in names[:NODES_MAX]:
        found.append((f"node {name}", (*_argv("remuda.node", home, name), "--name", name)))
    return found


def _argv(module: str, home: Home, name: str) -> tuple[str, ...]:
    written = home.run_dir / f"{name}.toml"  # by `remuda up`, for this daemon alone
    extra = ("--config", str(written)) if written.exists() else ()
    return module_argv(module, "--home", str(home.root), *extra, "--check", "--json")


def ask(
    argv: tuple[str, ...], patience_s: float = PATIENCE_S, user: tuple[int, int] | None = None
) -> list[Finding]:
    """Return what a daemon's own check found, or that it could not be asked; `user`: uid, gid."""
    uid, gid = user or (None, None)
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=patience_s,
            user=uid, group=gid, extra_groups=[] if user else None, cwd="/" if user else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [
            serious(
                "check",
                f"no answer within {patience_s:g} s: something that it looks at hangs",
                f"look at it alone: {' '.join(argv[:-1])}; a disk or a driver that hangs shows in "
                "`dmesg`",
            )
        ]
    try:
        rows = json.loads(done.stdout[:OUTPUT_BYTES_MAX])
        return [Finding(r["topic"], Level(r["level"]), r["text"], r["remedy"]) for r in rows]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        return [serious("check", said[0], "mend that first: it would not start either")]


def _driver() -> Iterator[Finding]:
    """Say what a node on this host would find of GPUs."""
    argv = module_argv("remuda.node", "--probe", "--json")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        body = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        yield serious("gpus", "the driver hangs, as `nvidia-smi` will", "reboot")
        return
    except ValueError:
        said = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        yield warning("gpus", said[0], "see `remuda-node --probe`")
        return
    names = [str(each.get("name")) for each in body.get("gpus") or []]
    if names:
        yield fine("gpus", f"{', '.join(names)}; driver {body.get('driver')}")
    else:
        yield fine("gpus", f"none: {body.get('gpus_reason') or 'the driver lists no GPU'}")


def _units() -> Iterator[Finding]:
    """Say which services of ours systemd has trouble with."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").exists():
        return
    for unit in UNITS:
        done = subprocess.run(
            ["systemctl", "show", unit, "-p", "LoadState,ActiveState,Result,NRestarts"],
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        yield from judge_unit(unit, dict(
            line.split("=", 1) for line in done.stdout.splitlines() if "=" in line
        ))  # fmt: skip


def judge_unit(unit: str, about: dict[str, str]) -> Iterator[Finding]:
    if about.get("LoadState") != "loaded":
        return
    state, restarts = about.get("ActiveState", "?"), int(about.get("NRestarts", "0") or 0)
    look = f"`journalctl -u {unit} -n 50` says why"
    if state == "failed":
        yield serious("services", f"{unit} failed ({about.get('Result')})", look)
    elif restarts:
        yield warning("services", f"{unit} is {state} and was restarted {restarts} times", look)
    else:
        yield fine("services", f"{unit} is {state}")
