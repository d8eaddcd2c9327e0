"""Where runners and workers take their code from: a copy by hash, which no upgrade pulls away."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import msgpack

_PACKAGE = Path(__file__).parent
_WORKER = _PACKAGE.parent / "worker"


def install(runtime_dir: Path) -> Path:
    """Copy the code of runner and worker to `runtime_dir/<hash>` unless it is there; return it.

    The copy is made aside and renamed, so that two agents or a crash leave no half of it. The pure
    Python part of msgpack comes along, for interpreters that have none installed.
    """
    files = _files()
    digest = hashlib.sha256()
    for name, source in sorted(files.items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(source).digest())
    target = runtime_dir / digest.hexdigest()[:16]
    if target.is_dir():
        return target
    aside = runtime_dir / f".{target.name}.{secrets.token_hex(4)}"
    for name, source in files.items():
        path = aside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
    try:
        os.rename(aside, target)  # noqa: PTH104 - fails when another agent was first
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not target.is_dir():
            raise
    return target


def _files() -> dict[str, bytes]:
    files = {
        "start/runner.py": (_PACKAGE / "runner" / "start.py").read_bytes(),
        "start/worker.py": (_WORKER / "start.py").read_bytes(),
        "remuda/__init__.py": (_WORKER / "face.py").read_bytes(),
        "remuda/node/__init__.py": b'"""The part of the node that runs apart from it."""\n',
    }
    folders = {
        "remuda/node/runner": _PACKAGE / "runner",
        "remuda/worker": _WORKER,
        "msgpack": Path(msgpack.__file__).parent,
    }
    for prefix, folder in folders.items():
        for path in folder.glob("*.py"):
            files[f"{prefix}/{path.name}"] = path.read_bytes()
    return files
