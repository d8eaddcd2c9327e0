"""What do scheduler and store say to each other of the configuration? Two files of their home.

In one the scheduler writes what operators changed (see `tuning.write_told`), in the other the store
what it goes by. Neither waits for the other: who was away reads it when it comes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.configured import NodeConfig, from_document, to_document
from ..protocol.errors import Invalid
from .home import Home, write_atomically

SAID_BYTES_MAX = 4 << 20


def told_file(home: Home) -> Path:
    """Find what the scheduler tells the store of changes."""
    return home.run_dir / "store-changes.json"


def said_file(home: Home) -> Path:
    """Find what the store says of its configuration."""
    return home.run_dir / "store-config.json"


@dataclass(frozen=True, slots=True)
class Said:
    """The report of a store: `digest` names what it goes by, `root` its directory."""

    root: Path
    digest: bytes
    config: NodeConfig = field(default_factory=NodeConfig)


def write_said(path: Path, said: Said) -> None:
    """Write a report; raises OSError."""
    body = to_document(said.config)
    plain = {
        **body,
        "refused": said.config.refused.hex(),
        "digest": said.digest.hex(),
        "root": str(said.root),
    }
    write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode())


def read_said(path: Path) -> Said | None:
    """Read a report, None where no store ever wrote one; raises Invalid and OSError."""
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(SAID_BYTES_MAX))
        config = from_document({**plain, "refused": bytes.fromhex(plain["refused"])})
        return Said(Path(plain["root"]), bytes.fromhex(plain["digest"]), config)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{path}: cannot be read: restart the store, which writes it") from error
