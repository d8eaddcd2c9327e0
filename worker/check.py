"""What is this interpreter, and does the worker's code run in it? One line of JSON says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgpack

from . import main as _main  # noqa: F401 - what is checked is that a worker loads

RUNTIME = Path(__file__).resolve().parents[2]


def main() -> None:
    """Describe the interpreter that has loaded all that a worker loads before its first call."""
    found = {
        "version": ".".join(map(str, sys.version_info[:3])),
        "prefix": sys.prefix,
        "is_venv": sys.prefix != sys.base_prefix,
        "has_msgpack": RUNTIME not in Path(msgpack.__file__).resolve().parents,
    }
    sys.stdout.write(json.dumps(found) + "\n")
