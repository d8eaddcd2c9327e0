"""What goes into the file that is sent with a bug report, and what never does?

Bounded in every part, and written so that a crash leaves the old or the new file. Arguments and
output of tasks are not in it: they are their owners'.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..config.home import ETC, Home, write_atomically
from ..config.settings_redis import HIDDEN
from ..protocol.errors import Invalid, RemudaError
from ..protocol.secret_names import looks_secret
from . import views
from .commands import Session
from .doctor_daemons import UNITS, home_meant
from .redaction import is_secret, known_secrets, redact, redact_toml

LOG_BYTES_MAX = 1 << 20
FILES_MAX = 64
EVENTS_MAX = 1_000
JOURNAL_LINES = 2_000
PATIENCE_S = 10.0
MODE = 0o600
VALUES = ("value", "written", "running")  # of an entry of the configuration


def check_new(path: Path) -> None:
    """Raise Invalid where a file would be replaced, or cannot be made."""
    if path.exists():
        raise Invalid(f"{path} exists: name a new file", field="bundle")
    if not path.absolute().parent.is_dir():
        raise Invalid(f"{path.absolute().parent} is no directory", field="bundle")


def write_bundle(
    session: Session, findings: Sequence[dict[str, Any]], path: Path
) -> tuple[list[str], int]:
    """Collect and write; return the names in the file and its size in bytes."""
    home = home_meant(session)
    secrets = known_secrets(home)
    stem = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    buffer, names, now = io.BytesIO(), [], int(time.time())
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in _parts(session, findings, home, secrets):
            data = text.encode("utf-8", "replace")
            about = tarfile.TarInfo(f"{stem}/{name}")
            about.size, about.mtime, about.mode = len(data), now, MODE
            tar.addfile(about, io.BytesIO(data))
            names.append(name)
    write_atomically(path, buffer.getvalue(), mode=MODE)
    return names, len(buffer.getvalue())


def _parts(
    session: Session,
    findings: Sequence[dict[str, Any]],
    home: Home | None,
    secrets: Sequence[str],
) -> Iterator[tuple[str, str]]:
    yield "findings.json", redact(_json(findings), secrets)
    yield "host.json", redact(_json(host_facts()), secrets)
    yield "packages.txt", _packages()
    for name, body in _of_cluster(session):
        yield name, redact(body, secrets)
    for name, text in _files(home):
        clean = redact_toml if name.endswith(".toml") else redact
        yield name, clean(text, secrets)
    for unit, text in _service_logs():
        yield f"journal/{unit}.log", redact(text, secrets)


def host_facts() -> dict[str, Any]:
    """Describe this host: kernel, Python, memory, disks, limits, and our variables."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": sys.version,
        "executable": sys.executable,
        "cpus": os.cpu_count(),
        "meminfo": _head("/proc/meminfo", 5),
        "limits": _head("/proc/self/limits", 40),
        "load": _head("/proc/loadavg", 1),
        "disk": {str(path): _free(path) for path in (Path("/"), Path.home()) if path.exists()},
        "environment": {
            name: HIDDEN if looks_secret(name) or name == "REMUDA_JOIN" else value
            for name, value in sorted(os.environ.items())
            if name.startswith(("REMUDA_", "CUDA_", "NVIDIA_"))
        },
        "nvidia_smi": _output(["nvidia-smi"]) if shutil.which("nvidia-smi") else "not there",
    }


def _head(path: str, lines: int) -> list[str]:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()[:lines]
    except OSError as error:
        return [str(error)]


def _free(path: Path) -> dict[str, int]:
    found = shutil.disk_usage(path)
    return {"total_bytes": found.total, "free_bytes": found.free}


def _packages() -> str:
    found = {f"{each.name}=={each.version}" for each in metadata.distributions() if each.name}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _of_cluster(session: Session) -> Iterator[tuple[str, str]]:
    """Ask the cluster for what describes it; what it does not answer is said in its place."""
    from ..client import control, feed, gpus

    asked: dict[str, Callable[[Any], Any]] = {
        "status.json": lambda link: control.status(link, timeout_s=PATIENCE_S),
        "nodes.json": control.list_nodes,
        "gpus.json": gpus.list_gpus,
        "stats.json": gpus.list_stats,
        "configuration.json": _configuration,
        "events.json": lambda link: _events(feed.events(link, follow=False)),
    }
    try:
        link = session.connect()
    except RemudaError as error:
        yield "cluster.txt", f"{error}\n"
        return
    with link:
        for name, ask in asked.items():
            try:
                yield name, _json(views.plain(ask(link)))
            except RemudaError as error:
                yield name, _json({"error": str(error)})
                if error.code == "unreachable":
                    return


def _configuration(link: Any) -> Any:
    from ..client import configuring

    body = configuring.show(link)
    for entry in body["entries"]:
        if is_secret(str(entry["key"])):
            entry.update({name: HIDDEN for name in VALUES if name in entry})
    return body


def _events(found: Any) -> list[Any]:
    from .events import row

    return [row(each) for each, _ in zip(found, range(EVENTS_MAX), strict=False)]


def _files(home: Home | None) -> Iterator[tuple[str, str]]:
    """Read configuration and logs of this host, the ends of what is long."""
    places = [("etc", ETC, "*.toml")]
    if home is not None:
        places += [
            ("home", home.root, "*.toml"),
            ("run", home.run_dir, "*.toml"),
            ("logs", home.logs_dir, "*.log*"),
        ]
    for folder, directory, pattern in places:
        for path in sorted(directory.glob(pattern))[:FILES_MAX]:
            yield f"{folder}/{path.name}", _tail(path)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES_MAX))
            text = file.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    except OSError as error:
        return f"{error}\n"
    return text if size <= LOG_BYTES_MAX else f"[{size - LOG_BYTES_MAX} bytes before]\n{text}"


def _service_logs() -> Iterator[tuple[str, str]]:
    if shutil.which("journalctl") is None or not Path("/run/systemd/system").exists():
        return
    for unit in UNITS:
        lines = ["journalctl", "-u", unit, "-n", str(JOURNAL_LINES), "--no-pager"]
        yield unit, _output(lines)


def _output(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"
    return (done.stdout + done.stderr)[-LOG_BYTES_MAX:]


def _json(body: Any) -> str:
    return json.dumps(body, indent=1, ensure_ascii=False, default=str) + "\n"
