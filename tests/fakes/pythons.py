"""Which other Pythons are on this host, and virtual environments made from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import msgpack

OTHERS = ("3.9", "3.13")
"""The oldest that a worker runs in, and the newest that most hosts have."""


def find(version: str) -> Path | None:
    """Return a Python of that version: on the PATH, or among those that pyenv keeps."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    kept = sorted(root.glob(f"{version}.*/bin/python"))
    named = shutil.which(f"python{version}")
    for path in [*kept, *([Path(named)] if named else [])]:
        done = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return path
    return None


def with_msgpack_alone(folder: Path, python: Path | None = None) -> Path:
    """Make a virtual environment in which nothing is installed but msgpack; return its Python."""
    if python is None or python == Path(sys.executable):
        venv.create(folder, with_pip=False, symlinks=True)
    else:
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")  # of our version alone
    shutil.copytree(Path(msgpack.__file__).parent, site / "msgpack", ignore=ignored)
    return folder / "bin" / "python"
